"""Fixes to formulas of a script's own and to operations that take the wrong axis, tried by replay."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from probes.recorded import fit, record
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .test_trials import LABELS, X, adam, loader, mlp, proof

WORDS = X[:, None].repeat(1, 5, 1) + 0.1 * torch.randn(96, 5, 6, generator=torch.Generator().manual_seed(1))


def test_the_sign_of_a_formula_is_turned():
    def likelihood(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return model(batch[0]).log_softmax(1).gather(1, batch[1][:, None]).mean()

    model = mlp()
    found = proof(record(lambda: fit(model, loader(), likelihood, adam(model))), "output-activation")
    assert found.helped
    assert found.summary.startswith("With its sign turned")


def test_a_formula_for_probabilities_gets_them():
    model, wanted = mlp(), F.one_hot(LABELS, 4).float()

    def dice(model: nn.Module, batch: list[Tensor]) -> Tensor:
        given, target = model(batch[0]), batch[1]
        return 1 - (2 * (given * target).sum() + 1) / (given.sum() + target.sum() + 1)

    found = proof(record(lambda: fit(model, loader(X, wanted), dice, adam(model))), "output-activation")
    assert found.tried
    assert found.summary.startswith("With a sigmoid before the formula")


def test_pairs_are_told_apart_by_plus_and_minus():
    model, same = nn.Linear(6, 8), (LABELS.roll(1) == LABELS).long()
    same[::2] = 1
    data = TensorDataset(X, torch.where(same[:, None] > 0, X, -X.roll(1, 0)), same)

    def similar(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return F.cosine_embedding_loss(model(batch[0]), model(batch[1]), batch[2])

    found = proof(record(lambda: fit(model, DataLoader(data, 16, shuffle=True), similar, adam(model, 0.01))), "label-range")
    assert found.helped
    assert found.summary.startswith("With targets of 1 and -1")


def test_samples_are_put_beside_their_own_values():
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))

    def crossed(model: nn.Module, batch: list[Tensor]) -> Tensor:
        return (model(batch[0]) - batch[1]).square().mean()

    found = proof(record(lambda: fit(model, loader(X, X[:, 0] + X[:, 1]), crossed, adam(model, 0.01))), "loss-shape")
    assert found.helped
    assert found.summary.startswith("With each sample beside its own value")


class Pooled(nn.Module):
    """Attends over positions, or by mistake over samples."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.score, self.head, self.axis = nn.Linear(6, 1), nn.Linear(6, 4), axis

    def forward(self, x: Tensor) -> Tensor:
        weights = self.score(x).squeeze(-1).softmax(self.axis)
        return self.head((weights[..., None] * x).sum(1))


def test_a_softmax_over_samples_runs_over_positions():
    model = Pooled(0)
    data = DataLoader(TensorDataset(WORDS, LABELS), 16, shuffle=True)
    found = proof(record(lambda: fit(model, data, lambda m, b: F.cross_entropy(m(b[0]), b[1]), adam(model, 0.01))), "sample-mixing")
    assert found.helped
    assert found.summary.startswith("With softmax over the last axis")


def test_attention_over_samples_is_turned():
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = nn.TransformerEncoderLayer(6, 2, 16, 0.0), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(x).mean(1))

    model = Reader()
    data = DataLoader(TensorDataset(WORDS, LABELS), 16, shuffle=True)
    found = proof(record(lambda: fit(model, data, lambda m, b: F.cross_entropy(m(b[0]), b[1]), adam(model, 0.01))), "sample-mixing")
    assert found.tried
    assert "samples on the second axis in attention" in found.summary
