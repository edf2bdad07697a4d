"""Numbers that a cast makes equal before a look-up, and casts that look like it and are sound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from probes.recorded import Net, measured, record
from torch import Tensor, nn

from trainlint.measurements import Influence
from trainlint.probes.step.influence import measure_influence


def collapsed(look_up: Callable[[nn.Module, Tensor], Tensor], numbers: Callable[[], Tensor] = lambda: torch.rand(16)) -> Influence:
    """What is measured of a loop that draws its inputs, with numbers by which the model looks something up."""

    def forward(net: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        return net.head(torch.cat([x, look_up(net, t)], dim=1))

    model = Net(forward, head=nn.Linear(10, 1), rows=nn.Embedding(20, 4), gate=nn.Linear(1, 1))
    model.register_buffer("table", torch.randn(20, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        for _ in range(40):
            optimizer.zero_grad()
            F.mse_loss(model(torch.randn(16, 6), numbers()), torch.randn(16, 1)).backward()
            optimizer.step()

    found = record(run)
    return measured(measure_influence, found) if any(c.collapsed for c in found.casts.values()) else Influence()


@pytest.mark.parametrize(
    ("look_up", "word"),
    [
        (lambda net, t: net.table[t.long()], "indexing"),
        (lambda net, t: net.rows(t.to(torch.int64).clamp(0, 19)), "embedding"),
        (lambda net, t: F.one_hot(t.floor().long(), 4).float(), "one_hot"),
        (lambda net, t: net.table.index_select(0, t.view(-1).int()), "index_select"),
    ],
)
def test_numbers_below_one_that_become_one_index_are_found(look_up: Callable[..., Tensor], word: str) -> None:
    found = collapsed(look_up).collapsed
    assert [(c.look_up, c.where is not None) for c in found] == [(word, True)]
    assert found[0].numbers > 8
    assert 0 <= found[0].low < found[0].high < 1


@pytest.mark.parametrize(
    "look_up",
    [
        lambda net, t: net.table[(t * 20).long()],
        lambda net, t: net.rows(torch.bucketize(t, torch.linspace(0, 1, 19))),
        lambda net, t: net.table[t.long()].lerp(net.table[t.long() + 1], (t - t.floor())[:, None]),
        lambda net, t: torch.cat([net.table[t.long()][:, 1:], t[:, None]], dim=1),
        lambda net, t: net.table[(net.gate(t[:, None])[:, 0].sigmoid() * 0.9).long()],
        lambda net, t: net.table[(t > 2).long()],
    ],
)
def test_scaled_interpolated_and_learned_numbers_are_left_alone(look_up: Callable[..., Tensor]) -> None:
    assert collapsed(look_up).collapsed == ()


@pytest.mark.parametrize(
    "numbers", [lambda: torch.zeros(16), lambda: torch.randint(0, 20, (16,)).float(), lambda: torch.rand(16) + (torch.rand(()) < 0.5)]
)
def test_whole_numbers_and_steps_that_differ_are_left_alone(numbers: Callable[[], Tensor]) -> None:
    assert collapsed(lambda net, t: net.table[t.long()], numbers).collapsed == ()
