"""States that leave the graph between time steps, and the detaching that is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, classify, measured, train
from trainlint.measurements import BrokenRecurrence
from trainlint.probes.run.parameters import measure_parameters

WIDTH, STEPS = 6, 8


def recurrence(
    forward: Callable[[Any, Tensor], Tensor], loss: Callable[[nn.Module, Any], Tensor] = classify, **layers: nn.Module
) -> BrokenRecurrence | None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(16, STEPS, 4), torch.arange(16) % 3)
    net = Net(forward, out=nn.Linear(WIDTH, 3), **layers)
    return measured(measure_parameters, train(net, DataLoader(data, 8), loss)).recurrence


def _gru(net: Any, x: Tensor, leave: Callable[[Tensor, int], Tensor]) -> Tensor:
    h = torch.zeros(len(x), WIDTH)
    for t in range(x.size(1)):
        h = net.cell(x[:, t], leave(h, t))
    return net.out(h)


@pytest.mark.parametrize(("leave", "kind"), [(lambda h, t: h.detach(), "detach"), (lambda h, t: h.data, "data")])
def test_a_state_detached_at_each_step_is_seen(leave: Callable[[Tensor, int], Tensor], kind: str):
    found = recurrence(lambda net, x: _gru(net, x, leave), cell=nn.GRUCell(4, WIDTH))
    assert found is not None
    assert (found.kind, found.layer, found.steps, found.reached, found.lines) == (kind, "gru_cell", STEPS, 1, ())
    assert found.where is not None


def test_the_lines_are_told_where_steps_are_run():
    def forward(net: Any, x: Tensor) -> Tensor:
        h, c = torch.zeros(len(x), WIDTH), torch.zeros(len(x), WIDTH)
        for piece in x.unbind(1):
            h, c = net.cell(piece, (h, c))
            h = h.detach()
            c = c.detach()
        return net.out(h) + net.out(net.cell(x[:, -1], (h, c))[0])

    found = recurrence(forward, cell=nn.LSTMCell(4, WIDTH))
    assert found is not None
    assert len(found.lines) == 2


def test_a_layer_that_is_given_one_step_at_a_time_is_seen():
    def forward(net: Any, x: Tensor) -> Tensor:
        state, seen = None, []
        for t in range(x.size(1)):
            y, state = net.layer(x[:, t : t + 1], state)
            state = tuple(s.detach() for s in state)
            seen.append(y)
        return net.out(torch.cat(seen, 1).mean(1))

    found = recurrence(forward, layer=nn.LSTM(4, WIDTH, batch_first=True))
    assert found is not None
    assert (found.layer, found.reached) == ("lstm", STEPS)


def _own(net: Any, x: Tensor, *, every: bool) -> Tensor:
    h, scores = torch.zeros(len(x), WIDTH), []
    for t in range(x.size(1)):
        h = net.step(torch.cat([x[:, t], h.detach()], 1)).tanh()
        scores.append(net.out(h))
    return torch.stack(scores).mean(0) if every else scores[-1]


def test_a_cell_of_ones_own_is_seen_where_only_the_last_step_is_taught():
    step = nn.Linear(4 + WIDTH, WIDTH)
    found = recurrence(lambda net, x: _own(net, x, every=False), step=step)
    assert found is not None
    assert found.layer == "linear"
    assert recurrence(lambda net, x: _own(net, x, every=True), step=step) is None


def _windows(net: Any, x: Tensor) -> Tensor:
    state, seen = None, []
    for window in x.split(2, 1):
        y, state = net.layer(window, state.detach() if state is not None else None)
        seen.append(y)
    return net.out(torch.cat(seen, 1).mean(1))


def _logged(net: Any, x: Tensor) -> Tensor:
    h, kept = torch.zeros(len(x), WIDTH), []
    for t in range(x.size(1)):
        h = net.cell(x[:, t], h)
        kept.append(h.detach())
    return net.out(h) + net.out(torch.stack(kept).mean(0))


def _own_words(net: Any, x: Tensor) -> Tensor:
    """What was said last is fed in without its gradient."""
    h, said = torch.zeros(len(x), WIDTH), x[:, 0]
    for t in range(x.size(1)):
        h = net.cell(said + x[:, t], h)
        said = net.say(h).detach()
    return net.out(h)


def _refined(net: Any, x: Tensor) -> Tensor:
    h = torch.zeros(len(x), WIDTH)
    for _ in range(5):
        h = net.cell(x[:, 0], h.detach())
    return net.out(h)


@pytest.mark.parametrize(
    ("forward", "layers"),
    [
        (lambda net, x: _gru(net, x, lambda h, t: h), {"cell": nn.GRUCell(4, WIDTH)}),
        (lambda net, x: _gru(net, x, lambda h, t: h.detach() if t % 4 == 0 else h), {"cell": nn.GRUCell(4, WIDTH)}),
        (_windows, {"layer": nn.GRU(4, WIDTH, batch_first=True)}),
        (_logged, {"cell": nn.GRUCell(4, WIDTH)}),
        (_own_words, {"cell": nn.GRUCell(4, WIDTH), "say": nn.Linear(WIDTH, 4)}),
        (_refined, {"cell": nn.GRUCell(4, WIDTH)}),
    ],
)
def test_truncation_and_values_that_are_meant_to_be_fixed_are_fine(forward: Callable[[Any, Tensor], Tensor], layers: dict[str, nn.Module]):
    assert recurrence(forward, **layers) is None


def test_samples_that_are_moved_against_a_loss_are_fine():
    def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x = batch[0][:, 0].clone()
        for _ in range(5):
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(model(x), batch[1]), x)
            x = x + 0.1 * slope.sign()
        return F.cross_entropy(model(x.detach()), batch[1])

    assert recurrence(lambda net, x: net.out(net.inner(x).relu()), loss, inner=nn.Linear(4, WIDTH)) is None
