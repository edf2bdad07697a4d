"""Samples that become other ones when they, or their neighbours, are read."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from probes.recorded import train
from trainlint.probes.data.in_place import overwritten_sample, worn_sample

LENGTH = 12


class Windows(Dataset):
    """Windows over one series, ``stride`` apart, each made by ``change``."""

    def __init__(self, series, change, stride=4) -> None:
        self.series, self.change, self.stride = series, change, stride

    def __len__(self) -> int:
        return (len(self.series) - LENGTH) // self.stride

    def __getitem__(self, index: int):
        window = self.change(self, self.series[index * self.stride : index * self.stride + LENGTH])
        return torch.as_tensor(window[:-1]), torch.as_tensor(window[-1:])


def scaled_in_numpy(_, window):
    mean, std = window.mean(), window.std()
    window -= mean  # the change
    window /= std
    return window


def scaled_in_torch(_, window):
    mean, std = window.mean(), window.std()
    return window.sub_(mean).div_(std)  # the change


def copied(self, window):
    return scaled_in_numpy(self, window.copy())


def counted(self, window):
    self.counts = getattr(self, "counts", np.zeros(4))
    self.counts += 1
    return window + np.float32(0.01 * self.counts.mean())


def kept_in_a_buffer(self, window):
    self.buffer = getattr(self, "buffer", np.zeros(LENGTH, np.float32))
    self.buffer[:] = window - window.mean()
    return self.buffer


def noisy(_, window):
    return window + np.random.randn(LENGTH).astype(np.float32)


def moved(_, window):
    window -= 1  # the change
    return window


def noisy_by_the_system(self, window):
    self.buffer = getattr(self, "buffer", np.zeros(LENGTH, np.float32))
    self.buffer[:] = window + np.frombuffer(os.urandom(LENGTH), np.uint8)
    return self.buffer


def series(*, tensor=False):
    walk = torch.randn(400, generator=torch.Generator().manual_seed(0)).cumsum(0)
    return walk if tensor else walk.numpy()


def recorded(dataset):
    return train(nn.Linear(LENGTH - 1, 1), DataLoader(dataset, 8, shuffle=True), lambda net, b: (net(b[0]) - b[1]).square().mean())


def overwritten(dataset):
    return overwritten_sample(recorded(dataset))


@pytest.mark.parametrize(("tensor", "change"), [(False, scaled_in_numpy), (True, scaled_in_torch)])
def test_windows_that_are_scaled_in_place_change_each_other(tensor, change):
    dataset = Windows(series(tensor=tensor), change)
    found = overwritten(dataset)
    assert (found.phase, found.read) == ("train", found.sample + 1)
    assert found.change > 0.01
    assert found.where.text.endswith("# the change")


@pytest.mark.parametrize("change", [copied, counted, kept_in_a_buffer, noisy])
def test_windows_that_are_made_anew_do_not(change):
    assert overwritten(Windows(series(), change)) is None


def test_windows_that_share_nothing_do_not():
    assert overwritten(Windows(series(), scaled_in_numpy, stride=LENGTH)) is None


def test_windows_that_are_moved_in_place_wear():
    found = worn_sample(recorded(Windows(series(), moved, stride=LENGTH)))
    assert (found.phase, found.read) == ("train", found.sample)
    assert found.change > 0.01
    assert found.where.text.endswith("# the change")


@pytest.mark.parametrize("change", [copied, scaled_in_numpy, counted, kept_in_a_buffer, noisy, noisy_by_the_system])
def test_windows_that_vary_by_other_means_do_not_wear(change):
    assert worn_sample(recorded(Windows(series(), change, stride=LENGTH))) is None


def masked(_, window):
    start = int(torch.randint(LENGTH - 2, ()))
    window[start : start + 2] = 0  # the change
    return window


def masked_in_a_copy(self, window):
    return masked(self, window.copy())


def masked_in_a_buffer(self, window):
    return masked(self, kept_in_a_buffer(self, window))


def kept_and_made_anew(self, window):
    """A sample that is made again now and then and kept in between."""
    self.cache = getattr(self, "cache", {})
    kept = self.cache.setdefault(float(window[0]), window.copy())
    if torch.rand(()) < 0.8:
        kept[:] = window + np.float32(torch.randn(()))
    return kept


def seen_parts(self, window):
    """Marks what was read, and draws by it."""
    self.seen = getattr(self, "seen", np.zeros(LENGTH, bool))
    start = int(torch.randint(LENGTH - 5, ()))
    self.seen[start : start + 4] = True
    return window + self.seen.astype(np.float32)


def test_masks_that_are_written_into_the_data_wear():
    recording = recorded(Windows(series(), masked, stride=LENGTH))
    recording.loaders_of("train")[0].loader.dataset.series = series()  # little is left of it
    found = worn_sample(recording)
    assert found.masked
    assert found.where.text.endswith("# the change")


@pytest.mark.parametrize("change", [masked_in_a_copy, masked_in_a_buffer, kept_and_made_anew, seen_parts])
def test_masks_that_are_written_elsewhere_do_not_wear(change):
    assert worn_sample(recorded(Windows(series(), change, stride=LENGTH))) is None


def test_what_workers_forget_does_not_wear():
    recording = recorded(Windows(series(), masked, stride=LENGTH))
    loader = recording.loaders_of("train")[0].loader
    loader.dataset.series, loader.__dict__["num_workers"] = series(), 2
    assert worn_sample(recording) is None
