"""Passes over validation data that no loader tells of."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes.recorded import record
from trainlint.measurements import ValidationPass
from trainlint.probes.run.validation import validation_passes

X, Y = torch.randn(64, 4), torch.arange(64) % 2
HELD_OUT = torch.randn(16, 4)


def passes(between: Callable[[nn.Module, int], object], before: Callable[[nn.Module], object] = lambda model: None) -> list[ValidationPass]:
    """What is seen of a loop of full batches with ``between(model, step)`` behind each step."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        before(model)
        for step in range(8):
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
            between(model, step)

    return list(validation_passes(record(run)))


def evaluate(model: nn.Module, inputs: Tensor, *, eval_mode: bool) -> None:
    model.train(not eval_mode)
    with torch.no_grad():
        model(inputs)
    model.train()


def test_the_same_held_out_tensor_after_each_step_is_a_pass() -> None:
    found = passes(lambda model, step: evaluate(model, HELD_OUT, eval_mode=False))
    assert len(found) >= 5
    assert all(p.training_mode and p.mode_matters and p.told_by_calls and not p.grad for p in found)
    assert not any(p.training_mode for p in passes(lambda model, step: evaluate(model, HELD_OUT, eval_mode=True)))


def test_batches_drawn_now_and_then_are_a_pass() -> None:
    found = passes(lambda model, step: [evaluate(model, torch.randn(8, 4), eval_mode=False) for _ in range(3) if step == 3])
    assert [p.batches for p in found] == [3]
    assert found[0].training_mode


def test_other_inputs_between_all_steps_belong_to_the_training() -> None:
    assert not passes(lambda model, step: evaluate(model, torch.randn(8, 4), eval_mode=False))


def test_the_training_batch_looked_at_again_is_no_validation() -> None:
    assert not passes(lambda model, step: evaluate(model, X, eval_mode=False))


def test_a_call_before_the_first_step_is_no_validation() -> None:
    assert not passes(lambda model, step: None, before=lambda model: evaluate(model, HELD_OUT, eval_mode=False))
