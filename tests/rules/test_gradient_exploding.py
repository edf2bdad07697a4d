from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loop, Loss, LossCall, ParameterInfo, Parameters, Step
from trainlint_rules.gradient_exploding import GradientExploding

STEP = Step(optimizer=0, where=Location("train.py", 30), backwards=1, kept=1)
CALLS = (LossCall(kind="cross_entropy"),)


def weight(name: str, rms: float) -> ParameterInfo:
    return ParameterInfo(
        name=name, module=name, module_kind="Linear", shape=(10, 10), size=100, requires_grad=True, optimizer=0, gradient_norm=10 * rms
    )


def judge(*norms: float, weights: tuple[ParameterInfo, ...] = (), step: Step = STEP, loss: Loss | None = None, **facts: object):
    loop = Loop(steps=(step,) * len(norms), **{"stepped_optimizers": 1, **facts})
    parameters = Parameters(parameters=weights, total_norms=norms, model_where=Location("train.py", 5))
    return GradientExploding().judge(parameters, loop, loss or Loss(calls=CALLS, first=2.3))


def test_passes_steady_norms():
    assert judge(2.0, 2.5, 1.8, 2.2).kind == "pass"


def test_fails_when_the_norm_keeps_growing():
    verdict = judge(1.0, 5.0, 100.0, 2e3, 5e4)
    assert verdict.severity is Severity.ERROR
    assert verdict.evidence["measured"] == 5e4
    assert verdict.location == STEP.where


def test_passes_a_large_first_norm_that_falls():
    assert judge(500.0, 30.0, 3.0, 1.0).kind == "pass"


def test_warns_when_the_norm_is_far_above_the_loss():
    verdict = judge(7000.0, 900.0, 40.0)
    assert verdict.severity is Severity.WARNING
    assert "3,043 times the loss" in verdict.message


def test_warns_when_gradients_grow_on_their_way_back():
    weights = (weight("rnn", 5.0), weight("middle", 0.1), weight("head", 1e-3))
    assert judge(8.0, 8.0, weights=weights).severity is Severity.WARNING


def test_passes_a_clipped_network_whatever_its_norm():
    clipped = Step(optimizer=0, backwards=1, kept=1, clipped=5e4, clip_max_norm=1.0)
    assert judge(1.0, 50.0, 2e3, 5e4, step=clipped).kind == "pass"


def test_passes_the_large_gradients_of_a_sum_reduced_loss():
    assert judge(4e4, 4e4, 4e4, loss=Loss(calls=CALLS, first=7e4)).kind == "pass"


def test_does_not_compare_with_a_hand_written_or_pretrained_loss_near_zero():
    assert judge(5.0, 5.0, 5.0, loss=Loss(first=-1e-4)).kind == "pass"
    assert judge(5.0, 5.0, 5.0, loss=Loss(calls=CALLS, first=1e-4, at_init=False)).kind == "pass"


def test_does_not_judge_growth_of_alternating_optimizers():
    assert judge(0.01, 1.0, 5.0, 20.0, stepped_optimizers=2, loss=Loss(calls=CALLS, first=0.7, optimizers=2)).kind == "pass"


def test_needs_a_finite_norm():
    assert judge(float("nan"), float("inf")).kind == "not-run"
