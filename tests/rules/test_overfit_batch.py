from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Attempt, Overfit, ParameterInfo, Parameters
from trainlint_rules.overfit_batch import OverfitBatch

LINE = Location("train.py", 70)


def curve(start, end, steps=100, flat_from=0.5):
    """A loss that falls in a straight line and is flat after a share of its steps."""
    turn = max(int(steps * flat_from), 1)
    return tuple(start + (end - start) * min(i / turn, 1.0) for i in range(steps))


def judge(start=2.3, end=0.01, *, steps=100, flat_from=0.5, size=50_000, **changes):
    attempts = tuple(Attempt(optimizer="Adam", lr=lr, losses=curve(start, end, steps, flat_from)) for lr in (1e-3, 1e-2))
    facts = {
        "attempts": attempts,
        "batch_size": 32,
        "initial": start,
        "final": end,
        "reached": end / start,
        "kind": "cross_entropy",
        "where": LINE,
    }
    weight = ParameterInfo(name="fc.weight", module="fc", module_kind="Linear", shape=(size,), size=size, requires_grad=True)
    return OverfitBatch().judge(Overfit(**(facts | changes)), Parameters(parameters=(weight,)))


def test_a_fitted_batch_passes():
    verdict = judge(accuracy=1.0)
    assert verdict.kind == "pass"
    assert len(verdict.details[0].lines) == 2


def test_a_batch_that_stays_at_chance_is_an_error():
    verdict = judge(end=2.2, accuracy=0.2)
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert "0.001, 0.01" in verdict.message


@pytest.mark.parametrize(("accuracy", "threshold"), [(0.2, 0.1), (None, 0.5)])
def test_the_evidence_compares_what_is_left_with_what_may_be(accuracy, threshold):
    evidence = judge(1.0, 0.9, accuracy=accuracy).evidence
    assert (evidence["measured"], evidence["expected"], evidence["threshold"], evidence["final"]) == (0.9, 0, threshold, 0.9)


def test_a_batch_that_is_fitted_in_part_is_a_warning():
    assert judge(end=0.9, accuracy=0.7).severity is Severity.WARNING


def test_all_classes_right_is_fitted_even_when_a_second_loss_remains():
    assert judge(end=0.8, accuracy=1.0).kind == "pass"


def test_a_bottleneck_may_keep_part_of_a_reconstruction_loss():
    assert judge(1.0, 0.4, kind="mse_loss").kind == "pass"
    assert judge(1.0, 0.7, kind="mse_loss").severity is Severity.WARNING
    assert judge(1.0, 0.95, kind="mse_loss").severity is Severity.ERROR


def test_smoothed_labels_are_measured_from_their_floor():
    assert judge(end=0.7, floor=0.65, reached=0.03).kind == "pass"


def test_a_loaded_model_with_nothing_left_to_learn_passes():
    assert judge(0.5, 0.49, floor=0.48, reached=0.9).kind == "pass"


def test_a_loss_that_is_still_falling_is_not_judged():
    assert judge(end=1.3, accuracy=0.6, flat_from=1.0).kind == "not-run"


def test_too_few_steps_say_nothing():
    assert judge(end=2.2, accuracy=0.2, steps=12).kind == "not-run"


def test_a_loss_without_a_floor_is_not_judged():
    assert judge(-1.0, -40.0, unbounded=True).kind == "not-run"


def test_a_linear_model_of_few_parameters_need_not_fit():
    assert judge(1.0, 0.9, kind="mse_loss", size=11).kind == "not-run"


def test_equal_inputs_with_different_targets_are_named():
    verdict = judge(end=1.6, accuracy=0.5, conflicting=20)
    assert verdict.severity is Severity.WARNING
    assert "20 of 32" in verdict.message


def test_no_attempt_is_not_a_pass():
    assert OverfitBatch().judge(Overfit(), Parameters()).kind == "not-run"


def test_nothing_is_said_of_attempts_that_the_budget_ended():
    verdict = judge(end=2.2, accuracy=0.2, cut_short=True)
    assert verdict.kind == "not-run"
    assert verdict.message.startswith("the budget ended after 99 steps on one batch, 2 learning rates tried")
    assert judge(accuracy=1.0, cut_short=True).kind == "pass"


def test_a_loss_that_still_creeps_down_is_no_error():
    creeping = tuple(2.3 * 0.999**i for i in range(200))
    assert judge(end=1.9, accuracy=0.3, attempts=(Attempt(optimizer="Adam", lr=1e-3, losses=creeping),)).severity is Severity.WARNING


@pytest.mark.parametrize(("kind", "severity"), [("mse_loss", Severity.ERROR), ("", Severity.WARNING)])
def test_a_loss_that_falls_without_end_is_told(kind, severity):
    verdict = judge(45.0, -4600.0, unbounded=True, kind=kind)
    assert (verdict.kind, verdict.severity) == ("fail", severity)
    assert "no lowest value" in verdict.message
