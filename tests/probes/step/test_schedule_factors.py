"""What is left of an optimizer's rate when its schedule is played forward."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR

from probes.recorded import record
from trainlint.probes.step.optimizer_copies import built_lr, configured_lr
from trainlint.probes.step.schedule_factors import highest_factors
from trainlint.record.recording import Recording

PEAK = 0.01


def scheduled(function, lr: float = PEAK, also=None) -> Recording:
    """A few steps under a LambdaLR."""

    def run() -> None:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        schedules = [LambdaLR(optimizer, function), *([also(optimizer)] if also else [])]
        for _ in range(4):
            optimizer.zero_grad()
            F.mse_loss(model(torch.randn(8, 3)), torch.randn(8, 1)).backward()
            optimizer.step()
            schedules[0].step()

    return record(run)


def warmed(step: int, top: float = 1.0) -> float:
    return top * min(1.0, (step + 1) / 1000, 1000 / (step + 1))


@pytest.mark.parametrize("function", [warmed, lambda step: 0.9**step, lambda step: 1 + step, lambda step: [1, 0.1, 0.1, 0.1, 0.1][step]])
def test_a_schedule_that_touches_the_full_rate_or_cannot_be_played_leaves_it_as_it_was_built(function):
    assert configured_lr(scheduled(function)) == [PEAK]


def test_a_function_that_returns_the_rate_leaves_its_square():
    recording = scheduled(lambda step: warmed(step, PEAK))
    assert configured_lr(recording) == pytest.approx([PEAK**2], rel=0.02)
    assert built_lr(recording) == PEAK


def test_a_rate_of_one_times_a_function_that_returns_rates_is_the_function():
    assert configured_lr(scheduled(lambda step: warmed(step, 3e-4), lr=1.0)) == pytest.approx([3e-4], rel=0.02)


def test_of_two_schedules_none_rules():
    assert configured_lr(scheduled(lambda step: 0.001, also=lambda o: StepLR(o, 5))) == [PEAK]


def test_factors_are_told_group_by_group_and_not_of_a_search_or_a_function_that_fails():
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}], lr=1.0)
    assert highest_factors(LambdaLR(optimizer, [lambda step: 0.0, warmed])) == pytest.approx((0.0, 1.0), rel=0.02)
    assert highest_factors(LambdaLR(optimizer, lambda step: math.exp(step / 1e5))) == ()
    assert highest_factors(LambdaLR(optimizer, lambda step: [0.1][step])) == ()
    assert highest_factors(StepLR(optimizer, 5)) == ()
