"""Tokens that fill up short samples and stand in them as well."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.pad_token import shared_token

STRANDS = [(torch.arange(3 + i % 7) * 3 % 4, i % 2) for i in range(40)]
WORDS = [(strand + 1, label) for strand, label in STRANDS]
ENDED = [(torch.cat([word, torch.zeros(1, dtype=torch.int64)]), label) for word, label in WORDS]


def filled(batch):
    return pad_sequence([x for x, _ in batch], batch_first=True), torch.tensor([y for _, y in batch])


def with_lengths(batch):
    return *filled(batch), torch.tensor([len(x) for x, _ in batch])


def with_mask(batch):
    mask = pad_sequence([torch.ones(len(x)) for x, _ in batch], batch_first=True)
    return *filled(batch), mask


def look(data, collate=filled):
    return shared_token(Samples(DataLoader(data, 8, collate_fn=collate)), lambda path: "input" if path == "[0]" else "other")


def test_a_token_of_the_samples_that_fills_them_up_is_told_with_its_share():
    found = look(STRANDS)
    assert (found.path, found.token) == ("[0]", 0)
    assert 0.2 < found.share < 0.5


@pytest.mark.parametrize("data", [WORDS, ENDED])
def test_a_token_of_its_own_or_an_end_mark_stands_nowhere_within(data):
    assert look(data).share == 0.0


@pytest.mark.parametrize("collate", [with_lengths, with_mask])
def test_a_batch_that_says_what_is_real_may_share_it(collate):
    assert look(STRANDS, collate) is None


def test_samples_of_one_length_are_not_filled_up():
    assert look([(torch.arange(6) % 4, 0)] * 40) is None
