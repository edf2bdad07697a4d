"""Counters, lists and tensors that objects hold outside buffers are put back."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trainlint
from trainlint.record.attributes import attributes_kept


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)
        self.seen, self.losses, self.queue = 3, [0.5], deque([1], maxlen=2)
        self.total, self.latest = torch.ones(2), torch.zeros(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        self.losses.append(1.0)
        self.queue.append(self.seen)
        self.total += 1
        self.latest = x[0]
        self.made = True
        return self.body(x)


def state(model: Counting) -> tuple[object, ...]:
    return model.seen, list(model.losses), list(model.queue), model.total.tolist(), model.latest.tolist(), hasattr(model, "made")


def test_what_a_forward_counts_is_put_back() -> None:
    model = Counting()
    before, lists, total = state(model), model.losses, model.total
    with attributes_kept(model.modules()):
        model(torch.ones(1, 4))
        assert state(model) != before
    assert state(model) == before
    assert model.losses is lists
    assert model.total is total


def test_a_tensor_that_belongs_to_a_graph_is_left_alone() -> None:
    model = Counting()
    model.hidden = model.body(torch.ones(1, 4)).tanh()
    loss = model.hidden.sum()
    with attributes_kept([model]):
        model.hidden = None
    loss.backward()  # raises when a saved tensor was written to


def test_what_is_broken_off_is_put_back_too() -> None:
    model = Counting()
    before = state(model)
    with pytest.raises(RuntimeError), attributes_kept([model]):
        model(torch.ones(1, 5))
    assert state(model) == before


def test_check_leaves_counters_of_model_and_dataset_alone() -> None:
    class Cached(TensorDataset):
        drawn = 0

        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            self.drawn += 1
            return super().__getitem__(index)

    model, data = Counting(), Cached(torch.randn(32, 4), torch.randint(0, 2, (32,)))
    before = state(model)
    trainlint.check(model, DataLoader(data, 8), loss_fn=nn.CrossEntropyLoss(), only=["init-loss"], budget=10)
    assert state(model) == before
    assert data.drawn == 0
