from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import record
from trainlint.finding import Severity
from trainlint.measurements import Labels, ViewPairs
from trainlint.probes.labels.view_pairs import view_pairs
from trainlint_rules._view_pairs import pairs_apart
from trainlint_rules.label_signal import LabelSignal

ROWS = torch.arange(32)


def contrasted(joined, targets: Tensor, *, views: int = 2) -> ViewPairs | None:
    """What is found of a loss over the views that ``joined(one, other)`` puts together."""

    def run() -> None:
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 8))
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        for _ in range(2):
            for (x,) in DataLoader(TensorDataset(torch.randn(96, 12)), 32 // views, shuffle=True):
                optimizer.zero_grad()
                one, other = (x + 0.1 * torch.randn_like(x) for _ in range(2))
                rows = F.normalize(encoder(joined(one, other) if views == 2 else x), dim=1)
                scores = (rows @ rows.T / 0.2).masked_fill(torch.eye(32, dtype=torch.bool), -1e9)
                F.cross_entropy(scores, targets.clone()).backward()
                optimizer.step()

    return view_pairs(record(run), time.monotonic() + 30)


def behind(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one, other])


def beside(one: Tensor, other: Tensor) -> Tensor:
    return torch.stack([one, other], 1).flatten(0, 1)


@pytest.mark.parametrize(("joined", "targets"), [(behind, ROWS ^ 1), (beside, (ROWS + 16) % 32)])
def test_targets_in_another_order_than_the_views_are_told(joined, targets: Tensor) -> None:
    found = contrasted(joined, targets)
    assert found is not None
    assert (found.looked_at, found.apart) == (16, 16)
    verdict = LabelSignal().judge(Labels(views=found))
    assert verdict.severity is Severity.ERROR
    assert "views of different samples" in verdict.message


@pytest.mark.parametrize(("joined", "targets"), [(beside, ROWS ^ 1), (behind, (ROWS + 16) % 32)])
def test_targets_in_the_order_of_the_views_pass(joined, targets: Tensor) -> None:
    found = contrasted(joined, targets)
    assert found is not None
    assert found.apart == 0
    assert pairs_apart(found) is None


def test_a_row_for_each_sample_tells_nothing() -> None:
    assert contrasted(behind, ROWS ^ 1, views=1) is None
