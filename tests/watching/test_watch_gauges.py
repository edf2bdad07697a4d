from __future__ import annotations

import math

import torch
from torch import nn

from trainlint.watching.gauges import Gauge, UpdateRatio, gradient_norm


def test_a_gauge_rests_until_the_run_has_paid_for_its_reading() -> None:
    gauge = Gauge(share=0.01)
    for step in range(20):
        gauge.spent(step, seconds=0.002, step_seconds=0.01)
    assert gauge.next == 19 + 20  # 2 ms are a hundredth of twenty steps of 10 ms


def test_one_dear_reading_does_not_silence_a_gauge() -> None:
    gauge = Gauge(share=0.01)
    gauge.spent(0, seconds=10.0, step_seconds=0.01)
    assert gauge.next == 1


def test_the_gradient_norm_leaves_out_what_has_none() -> None:
    layer = nn.Linear(2, 2)
    assert gradient_norm(layer.parameters()) is None
    layer.weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert gradient_norm(layer.parameters()) == 5.0


def test_the_update_ratio_is_change_over_size() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    ratio = UpdateRatio([weight])
    with torch.no_grad():
        weight += 0.01
    found = ratio.ratio()
    assert found is not None
    assert math.isclose(found, 0.01, rel_tol=1e-4)
