"""What no causal language model can fit of a batch is known, and is no failure of the model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.replay import rehearsal
from trainlint.probes.training.overfit import measure_overfit
from trainlint.probes.training.token_floor import next_token_floor
from trainlint.record.operation import Operation

IDS = torch.tensor([[0, 1, 2], [0, 3, 4]] * 3)


def test_tokens_that_differ_after_the_same_beginning_have_a_floor() -> None:
    model = Net(lambda self, ids: self.head(self.tokens(ids)), tokens=nn.Embedding(5, 8), head=nn.Linear(8, 5))
    loss = lambda m, batch: F.cross_entropy(m(batch[0][:, :-1]).flatten(0, 1), batch[0][:, 1:].flatten())  # noqa: E731
    recording = train(model, DataLoader(TensorDataset(IDS), 2), loss)
    with rehearsal(recording) as trial:
        # The first of two positions is a coin toss, the second is certain.
        assert next_token_floor(trial, {}) == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize("shifted", ["in the loop", "by the loader"])
def test_texts_that_lie_along_the_first_axis_have_the_same_floor(shifted: str) -> None:
    """(time, batch) is what a recurrent layer takes unless it is told otherwise."""
    model = Net(lambda self, ids: self.head(self.tokens(ids)), tokens=nn.Embedding(5, 8), head=nn.Linear(8, 5))
    if shifted == "in the loop":
        loader = DataLoader(list(IDS), 2, collate_fn=lambda texts: torch.stack(texts, 1))
        loss = lambda m, ids: F.cross_entropy(m(ids[:-1]).flatten(0, 1), ids[1:].flatten())  # noqa: E731
    else:
        loader = DataLoader(list(IDS), 2, collate_fn=lambda texts: (torch.stack(texts, 1)[:-1], torch.stack(texts, 1)[1:]))
        loss = lambda m, batch: F.cross_entropy(m(batch[0]).flatten(0, 1), batch[1].flatten())  # noqa: E731
    with rehearsal(train(model, loader, loss)) as trial:
        assert next_token_floor(trial, {}) == pytest.approx(math.log(2) / 2)


def test_a_first_token_that_the_loop_puts_before_them_is_no_answer() -> None:
    def loss(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
        (ids,) = batch
        begun = torch.cat([torch.full((len(ids), 1), 5), ids], 1)
        return F.cross_entropy(model(begun[:, :-1]).transpose(1, 2), begun[:, 1:])

    model = Net(lambda self, ids: self.head(self.tokens(ids)), tokens=nn.Embedding(6, 8), head=nn.Linear(8, 6))
    recording = train(model, DataLoader(TensorDataset(IDS), 2), loss)
    with rehearsal(recording) as trial:
        # All samples begin alike, and the second of three is a coin toss.
        assert next_token_floor(trial, {}) == pytest.approx(math.log(2) / 3)


def test_sparse_gradients_are_fitted_too() -> None:
    model = Net(lambda self, ids: self.head(self.table(ids).sum(1)), table=nn.Embedding(5, 8, sparse=True), head=nn.Linear(8, 3))
    optimizers = torch.optim.SGD(model.parameters(), lr=1e-2)
    labels = torch.arange(6) % 3
    loader = DataLoader(TensorDataset(torch.randint(5, (6, 4)), labels), 6)
    recording = train(model, loader, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]), optimizers)
    found = measured(measure_overfit, recording)
    assert found.reached < 0.5


def replace_call(op: Operation, call) -> Operation:
    other = copy.copy(op)
    other.call = call
    return other


def test_a_step_whose_shapes_depend_on_the_weights_is_not_measured() -> None:
    def picked(self: Net, x: torch.Tensor) -> torch.Tensor:
        score = self.score(x).squeeze(1)
        kept = (score > score.mean()).nonzero().squeeze(1)
        return self.head(x[kept]) * score[torch.arange(len(kept))].unsqueeze(1)

    torch.manual_seed(0)
    model = Net(picked, score=nn.Linear(4, 1), head=nn.Linear(4, 1))
    loader = DataLoader(TensorDataset(torch.randn(32, 4)), 32)
    recording = train(model, loader, lambda m, batch: m(batch[0]).square().mean())
    with rehearsal(recording) as trial:
        optimizer = torch.optim.SGD(trial.leaves, lr=0.0)
        index = next(op for op in trial.tape.operations if op.name == "nonzero")
        with pytest.raises(CannotMeasureError, match="shapes depend on the weights"):
            trial.step(optimizer, {}, lambda op: replace_call(op, lambda t: t.nonzero()[:2]) if op is index else op)


def test_a_step_that_holds_the_size_of_its_batch_is_tried_on_a_few_samples() -> None:
    torch.manual_seed(0)
    model = Net(lambda self, x: self.head(self.body(x).reshape(x.size(0), -1)), body=nn.Conv1d(1, 4, 3), head=nn.Linear(24, 3))
    loader = DataLoader(TensorDataset(torch.randn(32, 1, 8), torch.arange(32) % 3), 32)
    recording = train(model, loader, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))
    found = measured(measure_overfit, recording)
    assert (found.batch_size, found.accuracy) == (8, 1.0)


def test_a_few_samples_are_fitted_where_the_model_reads_the_batch_size_of_its_input() -> None:
    model = Net(lambda net, x: net.head(net.body(x).relu().mean(2).view(x.size(0), -1)), body=nn.Conv1d(3, 16, 5), head=nn.Linear(16, 4))
    data = TensorDataset(torch.randn(64, 3, 100), torch.arange(64) % 4)
    recording = train(model, DataLoader(data, 16), lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert measured(measure_overfit, recording).batch_size == 4


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread, self.back = nn.Linear(6, 2), nn.Linear(6, 2), nn.Linear(2, 6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_term_that_falls_without_end_is_followed_below_zero(sign):
    torch.manual_seed(0)
    rows = torch.randn(64, 6)

    def loss(model, batch):
        mean, spread = model.mean(batch[0]), model.spread(batch[0])
        rebuilt = F.mse_loss(model.back(mean + spread.exp() * torch.randn_like(mean)), batch[0])
        kl = -0.5 * (1 + 2 * spread - mean.square() - (2 * spread).exp()).sum(1).mean()
        return rebuilt + sign * kl

    found = measured(measure_overfit, train(Coder(), DataLoader(TensorDataset(rows), 16), loss))
    assert (found.final < -100) == (sign < 0)
    assert (found.endless_where is not None) == (sign < 0)
