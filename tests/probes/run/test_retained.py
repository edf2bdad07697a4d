"""Graphs that outlive their step, in loops that keep them and in loops that do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.measurements import Retained
from trainlint.probes.run.retained import measure_retained

X, Y = torch.randn(12, 8, 6), torch.randn(12, 8, 1)


def retained(after: Callable[[dict[str, Any], Tensor, Tensor], None], steps: int = 10) -> Retained:
    """A loop that calls ``after(history, loss, output)`` at the end of each step."""
    model = nn.Linear(6, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        history: dict[str, Any] = {"total": 0.0, "list": []}
        for i in range(steps):
            optimizer.zero_grad()
            output = model(X[i])
            loss = F.mse_loss(output, Y[i])
            loss.backward()
            optimizer.step()
            after(history, loss, output)

    return measured(measure_retained, record(run))


def add(history: dict[str, Any], loss: Tensor, output: Tensor) -> None:
    history["total"] = history["total"] + loss


def test_a_running_total_with_its_graph_grows_by_the_step():
    found = retained(add)
    assert (found.kind, found.alive, found.made) == ("loss", 9, 10)
    assert found.variable == "history['total']"
    assert not found.listed


def test_a_list_of_losses_is_found_by_its_name():
    found = retained(lambda history, loss, output: history["list"].append(loss))
    assert (found.alive, found.variable, found.listed) == (9, "history['list']", True)


def test_a_list_of_outputs_is_seen():
    found = retained(lambda history, loss, output: history["list"].append(output))
    assert (found.kind, found.alive) == ("outputs", 9)


@pytest.mark.parametrize(
    "after",
    [
        lambda history, loss, output: None,
        lambda history, loss, output: history.update(last=loss),
        lambda history, loss, output: history["list"].append(loss.item()),
        lambda history, loss, output: history["list"].append((loss.detach(), output.detach())),
        lambda history, loss, output: history.update(total=history["total"] + loss.detach()),
    ],
)
def test_values_and_the_last_loss_keep_nothing(after):
    assert retained(after).alive <= 1


def test_losses_that_are_summed_before_one_backward_are_no_history():
    model = nn.Linear(6, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> None:
        for start in range(0, 12, 4):
            optimizer.zero_grad()
            losses = [F.mse_loss(model(X[i]), Y[i]) for i in range(start, start + 4)]
            torch.stack(losses).sum().backward()
            optimizer.step()

    found = measured(measure_retained, record(run))
    assert found.kind != "loss" or found.alive <= 1
    assert len(set(found.nodes)) == 1


def carried(detach: bool) -> Retained:
    cell, head = nn.GRUCell(6, 8), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.0)

    def run() -> None:
        state = torch.zeros(8, 8)
        for i in range(8):
            optimizer.zero_grad()
            state = cell(X[i], state.detach() if detach else state)
            F.mse_loss(head(state), Y[i]).backward(retain_graph=not detach)

    return measured(measure_retained, record(run))


def test_a_state_that_is_carried_on_makes_the_graph_grow():
    nodes = carried(detach=False).nodes
    assert nodes[-1] > 3 * nodes[0]
    assert all(b > a for a, b in itertools.pairwise(nodes))
    assert len(set(carried(detach=True).nodes[1:])) == 1


class Meter:
    """What many scripts average their losses with."""

    def __init__(self) -> None:
        self.sum: Any = 0.0

    def update(self, value: Any) -> None:
        self.sum = self.sum + value  # meter


def test_a_meter_that_is_given_tensors_is_found():
    def update(history: dict[str, Any], loss: Tensor, output: Tensor) -> None:
        history.setdefault("meter", Meter()).update(loss)

    found = retained(update)
    assert (found.alive, found.variable) == (9, "history['meter'].sum")
    assert found.where is not None
    assert found.where.text.endswith("# meter")


def test_states_that_a_loop_without_backward_carries_on_are_found_in_their_tuple():
    cell, head = nn.LSTM(6, 8), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.01)

    def run() -> None:
        for _ in range(4):
            state = (torch.zeros(1, 8, 8), torch.zeros(1, 8, 8))
            for (x,) in DataLoader(TensorDataset(X[:12])):
                output, state = cell(x, state)
            optimizer.zero_grad()
            F.mse_loss(head(output), Y[11:12]).backward()
            optimizer.step()

    found = measured(measure_retained, record(run))
    assert (found.variable, found.listed, found.added) == ("state", False, False)


def test_what_is_made_of_one_models_output_for_another_is_not_kept_by_the_recorder():
    encoder, decoder = nn.Linear(6, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)

    def run() -> None:
        for i in range(10):
            optimizer.zero_grad()
            F.mse_loss(decoder(encoder(X[i]).tanh()), Y[i]).backward()
            optimizer.step()

    assert measured(measure_retained, record(run)).alive <= 1
