"""What no causal language model can fit of a batch is known, and is no failure of the model."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.overfit import next_token_floor
from trainlint.probes.replay import rehearsal

from .recorded import Net, train

IDS = torch.tensor([[0, 1, 2], [0, 3, 4]] * 3)


def test_tokens_that_differ_after_the_same_beginning_have_a_floor() -> None:
    model = Net(lambda self, ids: self.head(self.tokens(ids)), tokens=nn.Embedding(5, 8), head=nn.Linear(8, 5))
    loss = lambda m, batch: F.cross_entropy(m(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())  # noqa: E731
    recording = train(model, DataLoader(TensorDataset(IDS), 2), loss)
    with rehearsal(recording) as trial:
        # The first of two positions is a coin toss, the second is certain.
        assert next_token_floor(trial, {}) == pytest.approx(math.log(2) / 2)
