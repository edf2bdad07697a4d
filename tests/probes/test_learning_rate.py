"""The band is found from far above and far below it, and the configured rate is always tried itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.measurements import LearningRate
from trainlint.probes.learning_rate import measure_learning_rate

from .recorded import fit, measured, record


def rates(lr: float) -> LearningRate:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    loader = DataLoader(TensorDataset(x, (x[:, :4].sum(1) > 0).long()), 32, shuffle=True)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    recording = record(lambda: fit(model, loader, lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer))
    found: LearningRate = measured(measure_learning_rate, recording)
    return found


@pytest.mark.parametrize("lr", [1e-9, 1e-5, 0.3, 300.0])
def test_the_band_is_found_from_wherever_the_search_begins(lr: float) -> None:
    found = rates(lr)
    assert found.low is not None
    assert found.high is not None
    assert 0.01 < found.low < found.high < 50
    assert any(t.lr == lr and t.losses for t in found.trials)
