from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from trainlint.probes.data.collate_pairs import torn_pairs
from trainlint.probes.data.datasets import Samples
from trainlint.record.frames import Frames

READS = [(torch.arange(1, 2 + (7 * i) % 23), i % 5) for i in range(60)]


def padded(sequences):
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)


def inputs_sorted_alone(batch):
    sequences = [x for x, _ in batch]
    labels = torch.tensor([y for _, y in batch])
    sequences.sort(key=len)
    return padded(sequences), labels


def sorted_as_pairs(batch):
    batch = sorted(batch, key=lambda pair: len(pair[0]))
    return padded([x for x, _ in batch]), torch.tensor([y for _, y in batch])


def sorted_with_the_order_handed_on(batch):
    order = sorted(range(len(batch)), key=lambda i: len(batch[i][0]))
    return padded([batch[i][0] for i in order]), torch.tensor([y for _, y in batch]), torch.tensor(order)


def positions_as_labels(batch):
    return padded(sorted((x for x, _ in batch), key=len)), torch.arange(len(batch)) * 2


def plain(batch):
    return padded([x for x, _ in batch]), torch.tensor([y for _, y in batch])


def look(collate):
    samples = Samples(DataLoader(READS, batch_size=4, collate_fn=collate))
    return torn_pairs(samples, lambda path: "target" if path == "[1]" else "input", Frames())


def test_inputs_that_are_sorted_alone_lose_their_labels():
    found = look(inputs_sorted_alone)
    assert found is not None
    assert found.moved > 4
    assert found.where is not None
    assert found.where.line == inputs_sorted_alone.__code__.co_firstlineno + 3


@pytest.mark.parametrize("collate", [sorted_as_pairs, sorted_with_the_order_handed_on, positions_as_labels, plain])
def test_pairs_that_stay_together_are_no_finding(collate):
    assert look(collate) is None
