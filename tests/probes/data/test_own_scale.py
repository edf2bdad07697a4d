"""Validation rows that were scaled by statistics of their own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.probes.data.batches import measure_batches


def unit_range(rows, of):
    return (rows - of.min(0).values) / (of.max(0).values - of.min(0).values)


def standard(rows, of):
    return (rows - of.mean(0)) / of.std(0, correction=0)


@pytest.mark.parametrize(("scale", "name"), [(unit_range, "the range 0 to 1"), (standard, "mean 0 and standard deviation 1")])
@pytest.mark.parametrize("alone", [True, False])
def test_validation_that_is_scaled_alone_is_told(scale, name, alone):
    torch.manual_seed(0)
    rows, labels = torch.randn(300, 5), torch.arange(300) % 3
    train, val = rows[:200], rows[200:]
    loaders = (
        DataLoader(TensorDataset(scale(train, train), labels[:200]), 20, shuffle=True),
        DataLoader(TensorDataset(scale(val, val if alone else train), labels[200:]), 50),
    )
    model = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(2):
            for x, y in loaders[0]:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for x, y in loaders[1]:
                    F.cross_entropy(model(x), y)
            model.train()

    found = measured(measure_batches, record(run))
    assert found.val_scaled_to == (name if alone else "")
