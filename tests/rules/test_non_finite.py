from __future__ import annotations

import math

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loop, NonFinite, Step
from trainlint_rules.non_finite import NonFiniteRule

LINE = Location("train.py", 27)


def judge(steps=(), **facts):
    facts = {"steps": 6, "found": True, "step": 1, "where": LINE, "loss": math.nan} | facts
    return NonFiniteRule().judge(NonFinite(**facts), Loop(steps=steps))


def test_finite_steps_pass():
    assert judge(found=False, loss=0.4).kind == "pass"


def test_a_division_by_zero_is_named_with_its_remedy():
    verdict = judge(what="activation", operation="div", detail="division by zero")
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LINE
    assert "made by div (division by zero)" in verdict.message
    assert "clamp(min=1)" in verdict.fix.code


@pytest.mark.parametrize(
    ("operation", "detail", "word"),
    [("log", "log of 0", "log_softmax"), ("sqrt", "sqrt of 0 (its gradient is infinite)", "1e-12"), ("exp", "overflow", "clamp(max")],
)
def test_the_remedy_fits_the_operation(operation, detail, word):
    assert word in judge(what="loss", operation=operation, detail=detail).fix.code


def test_a_gradient_that_is_not_finite_names_the_parameter():
    verdict = judge(what="gradient", operation="sqrt", parameter="embed.weight", loss=0.7)
    assert verdict.severity is Severity.ERROR
    assert "embed.weight" in verdict.message


def test_values_that_were_seen_to_grow_point_to_the_learning_rate_and_to_clipping_where_there_is_none():
    grown = judge(what="loss", step=4, loss=math.inf, growth=300.0).fix
    assert "300-fold" in grown.summary
    assert "lower the learning rate" in grown.summary
    assert "clip_grad_norm_" in grown.code
    assert judge(what="loss", operation="pow", detail="overflow: float32 ends at 3.4e38", growth=300.0).fix == grown
    clipped = judge(what="loss", step=4, loss=math.inf, growth=300.0, clipped=True).fix
    assert "lower the learning rate" in clipped.summary
    assert "clip the gradient" not in clipped.summary
    assert clipped.code == ""


@pytest.mark.parametrize("growth", [None, 1.2])
def test_without_growth_the_usual_causes_are_possibilities(growth):
    fix = judge(what="loss", step=4, growth=growth).fix
    assert "may come from" in fix.summary
    assert "log or sqrt of 0" in fix.summary
    assert "clip" not in fix.summary + fix.code
    assert ("Neither the loss nor the gradient norm" in fix.summary) == (growth is not None)


def test_a_step_that_was_not_taken_is_told_from_the_whole_ones():
    assert "in step 4 of 6" in judge(what="loss", step=4).message
    assert (
        "in step 152, after 151 whole steps"
        in NonFiniteRule().judge(NonFinite(steps=151, found=True, step=152, what="loss"), Loop()).message
    )


def test_steps_skipped_by_the_gradient_scaler_are_no_fault():
    skipped = (Step(optimizer=0, scaler=True, skipped=True), Step(optimizer=0, scaler=True))
    assert judge(skipped, what="gradient", loss=2.3).kind == "pass"
    assert judge(skipped, what="gradient", loss=math.nan).kind == "fail"


def test_minus_infinity_in_a_mask_is_no_fault_while_the_loss_is_finite():
    assert judge(what="activation", operation="masked_fill", loss=2.3).kind == "pass"
    assert judge(what="activation", operation="masked_fill", loss=math.nan).kind == "fail"


def test_missing_inputs_that_the_model_handles_are_no_fault():
    assert judge(what="input", loss=0.5).kind == "pass"
    assert judge(what="input", loss=math.nan).severity is Severity.ERROR


def test_an_infinite_activation_behind_a_finite_loss_is_a_warning():
    assert judge(what="activation", operation="log", loss=0.5).severity is Severity.WARNING


def test_nothing_recorded_is_not_a_pass():
    assert NonFiniteRule().judge(NonFinite(), Loop()).kind == "not-run"
