from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from trainlint.probes.data.collate_axes import collate_reshapes
from trainlint.probes.data.datasets import Samples
from trainlint.record.frames import Frames

TEXTS = [(torch.arange(i, i + 5 + i % 4), i % 3) for i in range(40)]
CLIPS = [(torch.arange(24.0).reshape(2, 3, 4) + i, i % 3) for i in range(40)]


def labels(batch):
    return torch.tensor([y for _, y in batch])


def read_as_rows(batch):
    padded = pad_sequence([x for x, _ in batch])
    return padded.view(len(batch), -1), labels(batch)


def frames_before_clips(batch):
    stacked = torch.stack([x for x, _ in batch], 1)
    return stacked.reshape(len(batch), 2, 3, 4), labels(batch)


def transposed(batch):
    return pad_sequence([x for x, _ in batch]).T.reshape(len(batch), -1), labels(batch)


def flattened(batch):
    return torch.stack([x for x, _ in batch]).view(len(batch), -1), labels(batch)


def mixed(batch):
    x = torch.stack([x for x, _ in batch])
    return (x + x[torch.randperm(len(x))]).view(len(x), -1), labels(batch)


def numbered(batch):
    return torch.stack([torch.cat([torch.tensor([i]), x[:4]]) for i, (x, _) in enumerate(batch)]).view(len(batch), 5), labels(batch)


def look(data, collate):
    samples = Samples(DataLoader(data, batch_size=4, collate_fn=collate))
    return collate_reshapes(samples, lambda path: "target" if path == "[1]" else "input", Frames())


@pytest.mark.parametrize(("data", "collate", "order"), [(TEXTS, read_as_rows, (1, 0)), (CLIPS, frames_before_clips, (1, 0, 2, 3))])
def test_samples_that_lie_along_another_axis_than_they_are_read_by_are_found(data, collate, order):
    (found,) = look(data, collate)
    assert found.order == order
    assert found.operation == collate.__name__
    assert found.where is not None
    assert found.where.line == collate.__code__.co_firstlineno + 2


@pytest.mark.parametrize(("data", "collate"), [(TEXTS, transposed), (CLIPS, flattened), (CLIPS, mixed), (TEXTS, numbered)])
def test_rows_that_are_samples_or_mixed_on_purpose_are_no_finding(data, collate):
    assert look(data, collate) == ()
