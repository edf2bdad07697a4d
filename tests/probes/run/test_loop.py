"""What a recorded loop did with the losses that it accumulated."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.probes.run.loop import measure_loop


def accumulated(loss):
    """The loop that sums four batches of four samples for each step."""
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = DataLoader(TensorDataset(torch.randn(96, 6), torch.arange(96) % 3), 4)

    def run() -> None:
        for i, (x, y) in enumerate(loader):
            loss(model(x), y).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()

    return measured(measure_loop, record(run))


def each(out, y):
    return F.cross_entropy(out, y, reduction="none")


@pytest.mark.parametrize(
    ("loss", "divisor"),
    [
        (F.cross_entropy, 1),
        (lambda out, y: F.cross_entropy(out, y) / 4, 4),
        (lambda out, y: each(out, y).mean(), 1),
        (lambda out, y: each(out, y).mean() / 4, 4),
        (lambda out, y: each(out, y).sum() / 16, 4),
        (lambda out, y: F.cross_entropy(out, y, reduction="sum"), None),
    ],
)
def test_what_an_accumulated_loss_is_divided_by_is_told_wherever_it_is_averaged(loss, divisor):
    found = accumulated(loss).loss_divided_by
    assert found == (divisor and pytest.approx(divisor))


def objective(out, y):
    return F.cross_entropy(out, y) / 4


def twice(out, y):
    divided = F.cross_entropy(out, y)
    divided /= 4
    return divided / 4 * 1.0


@pytest.mark.parametrize(("loss", "text"), [(objective, "F.cross_entropy(out, y) / 4"), (twice, "divided / 4"), (F.cross_entropy, None)])
def test_the_line_that_divides_is_told(loss, text):
    found = accumulated(loss).divided_where
    assert found is None if text is None else found is not None and text in found.text
