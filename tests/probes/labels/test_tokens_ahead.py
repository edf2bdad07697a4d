"""Targets further ahead than the next token."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from probes.recorded import Net, measured, train
from trainlint.probes.labels.tokens_ahead import tokens_ahead

VOCABULARY, LENGTH = 30, 12


class Blocks(Dataset):
    def __init__(self, ahead: int) -> None:
        self.tokens = torch.randint(VOCABULARY, (64, LENGTH + 3), generator=torch.Generator().manual_seed(0))
        self.ahead = ahead

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int):
        row = self.tokens[index]
        return {"ids": row[:LENGTH], "labels": row[self.ahead : self.ahead + LENGTH]}  # the labels


def model(heads=1):
    return Net(
        lambda self, ids: self.head(self.rnn(self.embed(ids))[0]),
        embed=nn.Embedding(VOCABULARY, 8),
        rnn=nn.GRU(8, 16, batch_first=True),
        head=nn.Linear(16, heads * VOCABULARY),
    )


def moved_by(places):
    def loss(net, batch):
        logits, labels = net(batch["ids"]), batch["labels"]
        return F.cross_entropy(logits[:, : LENGTH - places].flatten(0, 1), labels[:, places:].flatten())

    return loss


def ahead(dataset, loss, net=None):
    recording = train(net or model(), DataLoader(dataset, 16), loss)
    return measured(lambda recording, deadline, _settings: tokens_ahead(recording, deadline), recording)


def test_labels_shifted_in_the_data_and_again_before_the_loss_are_told_with_the_line_of_the_data():
    found = ahead(Blocks(1), moved_by(1))
    assert (found.ahead, found.in_data, found.moves) == (2, 1, 2)
    assert found.where.text.endswith("# the labels")


@pytest.mark.parametrize(("in_data", "in_loop"), [(0, 1), (1, 0)])
def test_the_next_token_is_left_alone(in_data, in_loop):
    assert ahead(Blocks(in_data), moved_by(in_loop)) is None


@pytest.mark.parametrize(("in_data", "in_loop"), [(0, 2), (2, 0)])
def test_one_shift_by_two_places_is_told_from_two_shifts(in_data, in_loop):
    found = ahead(Blocks(in_data), moved_by(in_loop))
    assert (found.ahead, found.in_data, found.moves) == (2, in_data, 1)


def test_a_model_that_predicts_several_tokens_ahead_is_left_alone():
    def loss(net, batch):
        one, two = net(batch["ids"]).chunk(2, -1)
        labels = batch["labels"]
        return F.cross_entropy(one.flatten(0, 1), labels.flatten()) + F.cross_entropy(two[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    assert ahead(Blocks(1), loss, model(2)) is None


@pytest.mark.parametrize("kept", [torch.arange(LENGTH) >= LENGTH - 3, torch.arange(LENGTH) % 3 == 0], ids=["answers", "every third"])
def test_targets_of_which_a_mask_leaves_some_are_left_alone(kept):
    def loss(net, batch):
        labels = batch["labels"].masked_fill(~kept, -100)
        return F.cross_entropy(net(batch["ids"]).flatten(0, 1), labels.flatten())

    assert ahead(Blocks(1), loss) is None


def test_tokens_asked_for_in_blocks_are_left_alone():
    def forward(self, ids):
        whole = self.rnn(self.embed(ids))[0][:, 2::3]  # what is known at the end of a block says the next one
        return self.head(whole).reshape(len(ids), -1, VOCABULARY)

    net = Net(forward, embed=nn.Embedding(VOCABULARY, 8), rnn=nn.GRU(8, 16, batch_first=True), head=nn.Linear(16, 3 * VOCABULARY))

    def loss(net, batch):
        return F.cross_entropy(net(batch["ids"])[:, :-3].flatten(0, 1), batch["labels"][:, 3:].flatten())

    assert ahead(Blocks(0), loss, net) is None
