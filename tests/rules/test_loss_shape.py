from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loss, LossCall
from trainlint_rules.loss_shape import LossShape

LINE = Location("train.py", 33)


def judge(prediction, target, elements, kind="mse_loss", **changes):
    facts = {"broadcast": elements > 0, "broadcast_elements": elements, "target_std": 1.0, "batch_size": prediction[0]}
    call = LossCall(kind=kind, where=LINE, input_shape=prediction, target_shape=target, **(facts | changes))
    return LossShape().judge(Loss(calls=(call,)))


def test_equal_shapes_pass():
    assert judge((32, 1), (32, 1), 0).kind == "pass"


def test_every_prediction_against_every_target_is_an_error():
    verdict = judge((32, 1), (32,), 1024)
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert verdict.evidence["measured"] == 1024
    assert verdict.evidence["expected"] == 32
    assert verdict.fix.code == "loss = F.mse_loss(pred.squeeze(-1), target)"


def test_the_target_may_be_the_one_with_the_axis_too_many():
    assert judge((32,), (32, 1), 1024).fix.code == "loss = F.mse_loss(pred, target.squeeze(-1))"


def test_class_losses_whose_shapes_differ_by_design_pass():
    assert judge((32, 10), (32,), 0, kind="cross_entropy").kind == "pass"


def test_pairs_written_out_as_in_quantile_regression_are_a_warning_only():
    assert judge((32, 51, 1), (32, 1, 51), 32 * 51 * 51, kind="smooth_l1_loss").severity is Severity.WARNING


@pytest.mark.parametrize(("target", "elements", "std"), [((32,), 1024, 0.0), ((1,), 32, 0.0), ((), 32, 0.0)])
def test_constant_targets_of_a_gan_are_no_fault(target, elements, std):
    assert judge((32, 1), target, elements, target_std=std).kind == "pass"


def test_one_output_for_many_target_values_is_a_warning():
    verdict = judge((32, 1), (32, 5), 160, kind="l1_loss")
    assert verdict.severity is Severity.WARNING
    assert "repeated for 5 targets" in verdict.message


def test_one_target_for_the_members_of_an_ensemble_is_a_note():
    assert judge((32, 5), (32, 1), 160).severity is Severity.NOTE


def test_a_formula_of_the_scripts_own_is_not_judged():
    assert LossShape().judge(Loss()).kind == "not-run"
    assert LossShape().judge(Loss(formula_where=Location("train.py", 12))).kind == "pass"


def test_scores_that_were_cut_up_are_an_error_at_the_reshape():
    cut = Location("train.py", 30)
    verdict = judge((11520, 4), (11520,), 0, kind="cross_entropy", torn=1.0, torn_where=cut, torn_from=(20, 4, 24, 24))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, cut)
    assert "permute(0, 2, 3, 1)" in verdict.fix.code


def test_a_formula_that_crosses_a_column_with_a_row_is_an_error():
    verdict = LossShape().judge(Loss(crossed=(64, 1), crossed_where=Location("train.py", 12)))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, Location("train.py", 12))
    assert "(64, 64)" in verdict.message
