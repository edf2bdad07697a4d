"""Loaders and their last batches; batch-norm layers by what they normalise over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from probes.recorded import measured, record, train
from trainlint.measurements import LastBatch
from trainlint.probes.data.last_batch import measure_last_batch

DATA = TensorDataset(torch.randn(65, 3, 8, 8), torch.arange(65) % 4)


def last(loader: DataLoader, *layers: nn.Module) -> LastBatch:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.Flatten(), nn.LazyLinear(6), nn.BatchNorm1d(6), nn.Linear(6, 4))
    model(torch.zeros(2, 3, 8, 8))
    return measured(measure_last_batch, train(model, loader, lambda m, b: F.cross_entropy(m(b[0]), b[1])))


def test_batch_norm_layers_are_told_by_their_values_a_channel():
    found = last(DataLoader(DATA, 32, shuffle=True, drop_last=True), nn.BatchNorm2d(4))
    assert (found.single, found.several) == (("4",), ("1",))
    assert found.trained
    (loader,) = found.loaders
    assert (loader.phase, loader.samples, loader.batch_size, loader.last, loader.dropped) == ("train", 65, 32, 1, 1)
    assert loader.shuffled


def test_frozen_statistics_do_not_count():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)).eval()
    found = measured(measure_last_batch, train(model, DataLoader(DATA, 32), lambda m, b: F.cross_entropy(m(b[0]), b[1])))
    assert found.single == ()
    assert (found.loaders[0].last, found.loaders[0].dropped, found.loaders[0].shuffled) == (1, 0, False)


def test_a_sampler_decides_how_many_samples_there_are():
    found = last(DataLoader(DATA, 16, sampler=SubsetRandomSampler(range(48))))
    assert (found.loaders[0].samples, found.loaders[0].last) == (48, 16)


def test_a_loader_that_hands_out_nothing_is_empty():
    found = measured(measure_last_batch, record(lambda: [None for _ in DataLoader(DATA, 128, drop_last=True)]))
    assert not found.trained
    assert (found.loaders[0].phase, found.loaders[0].dropped) == ("empty", 65)
