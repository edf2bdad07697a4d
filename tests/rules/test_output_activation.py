from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loss, LossCall
from trainlint_rules.output_activation import OutputActivation

LOSS_LINE, HEAD_LINE = Location("train.py", 50), Location("train.py", 22)


def call(kind, activation=None, **changes):
    facts = {
        "input_shape": (32, 10),
        "target_shape": (32,),
        "classes": 10,
        "batch_size": 32,
        "input_operation": activation or "linear",
        "input_min": -2.0,
        "input_max": 2.0,
        "target_min": 0.0,
        "target_max": 1.0,
        "target_mean": 0.5,
        "target_std": 0.5,
    }
    where = HEAD_LINE if activation else None
    return LossCall(kind=kind, where=LOSS_LINE, input_activation=activation, input_activation_where=where, **(facts | changes))


def judge(*calls):
    return OutputActivation().judge(Loss(calls=calls))


PROBABILITIES = {"input_min": 0.0, "input_max": 0.9, "input_rows_sum_to_one": True, "input_activation_axis": 1}
LOG_PROBABILITIES = {"input_min": -9.0, "input_max": -0.1, "input_log_probabilities": True, "input_activation_axis": 1}


def test_logits_before_cross_entropy_pass():
    assert judge(call("cross_entropy")).kind == "pass"


def test_softmax_before_cross_entropy_is_an_error_at_the_line_of_the_softmax():
    verdict = judge(call("cross_entropy", "softmax", **PROBABILITIES))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.location == HEAD_LINE
    assert "1.46" in verdict.message


def test_a_softmax_written_by_hand_is_seen_in_its_values():
    verdict = judge(call("cross_entropy", **PROBABILITIES))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == LOSS_LINE


@pytest.mark.parametrize(
    ("activation", "severity"),
    [("sigmoid", Severity.ERROR), ("tanh", Severity.WARNING), ("relu", Severity.WARNING), ("log_softmax", Severity.NOTE)],
)
def test_other_activations_before_cross_entropy(activation, severity):
    values = LOG_PROBABILITIES if activation == "log_softmax" else {}
    assert judge(call("cross_entropy", activation, **values)).severity is severity


def test_log_softmax_and_nll_loss_belong_together():
    assert judge(call("nll_loss", "log_softmax", **LOG_PROBABILITIES)).kind == "pass"
    assert judge(call("nll_loss", "log", input_min=-9.0, input_max=-0.01)).kind == "pass"
    assert judge(call("nll_loss", **LOG_PROBABILITIES)).kind == "pass"


def test_nll_loss_on_scores_or_probabilities_is_an_error():
    assert judge(call("nll_loss")).severity is Severity.ERROR
    verdict = judge(call("nll_loss", "softmax", **PROBABILITIES))
    assert verdict.severity is Severity.ERROR
    assert "logarithm" in verdict.message


def test_log_probabilities_of_one_sample_made_without_a_batch_axis_pass():
    assert judge(call("nll_loss", "log_softmax", **(LOG_PROBABILITIES | {"input_activation_axis": 0}))).kind == "pass"


@pytest.mark.parametrize(("kind", "activation"), [("cross_entropy", "softmax"), ("nll_loss", "log_softmax"), ("mse_loss", "softmax")])
def test_softmax_over_the_batch_is_an_error(kind, activation):
    verdict = judge(call(kind, activation, input_activation_axis=0, input_min=0.01, input_max=0.2))
    assert verdict.severity is Severity.ERROR
    assert "axis 0" in verdict.message


def test_softmax_over_one_output_is_constant():
    verdict = judge(call("binary_cross_entropy", "softmax", input_shape=(32, 1), classes=None, input_min=1.0, input_max=1.0))
    assert verdict.severity is Severity.ERROR
    assert "always 1" in verdict.message


def test_sigmoid_and_binary_cross_entropy_belong_together():
    assert judge(call("binary_cross_entropy", "sigmoid", input_min=0.2, input_max=0.8)).kind == "pass"


def test_logits_before_binary_cross_entropy_are_an_error():
    assert judge(call("binary_cross_entropy")).severity is Severity.ERROR


def test_softmax_over_labels_that_hold_at_once_is_a_warning_but_not_over_classes():
    assert judge(call("binary_cross_entropy", "softmax", target_mean=0.3, **PROBABILITIES)).severity is Severity.WARNING
    assert judge(call("binary_cross_entropy", "softmax", target_mean=0.1, **PROBABILITIES)).kind == "pass"


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "log_softmax", "relu"])
def test_activations_before_the_loss_with_its_own_sigmoid_are_errors(activation):
    verdict = judge(call("binary_cross_entropy_with_logits", activation, classes=None))
    assert verdict.severity is Severity.ERROR
    assert "0.50" in verdict.message


def test_a_relu_before_targets_that_are_all_one_says_nothing():
    ones = {"target_min": 1.0, "target_mean": 1.0, "target_std": 0.0}
    assert judge(call("binary_cross_entropy_with_logits", "relu", classes=None, **ones)).kind == "pass"


def test_relu_before_standardised_targets_is_an_error():
    target = {"target_min": -2.1, "target_max": 2.4, "target_mean": 0.0, "target_std": 1.0}
    verdict = judge(call("mse_loss", "relu", **target))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == HEAD_LINE
    assert "below 0" in verdict.message


def test_relu_before_counts_is_fine_and_so_is_noise_around_zero():
    assert judge(call("mse_loss", "relu", target_min=0.0, target_max=9.0, target_mean=2.0, target_std=2.0)).kind == "pass"
    assert judge(call("mse_loss", "relu", target_min=-0.01, target_max=30.0, target_mean=2.0, target_std=5.0)).kind == "pass"


def test_few_negative_targets_are_a_warning():
    target = {"target_min": -3.0, "target_max": 30.0, "target_mean": 2.0, "target_std": 5.0}
    assert judge(call("mse_loss", "relu", target_values={"-3.0": 1, "0.0": 60, "30.0": 3}, **target)).severity is Severity.WARNING
    assert judge(call("mse_loss", "relu", target_values={"-3.0": 30, "0.0": 31, "30.0": 3}, **target)).severity is Severity.ERROR


def test_sigmoid_and_tanh_are_judged_by_the_pixels_they_must_reach():
    assert judge(call("mse_loss", "sigmoid", target_min=0.0, target_max=1.0, target_mean=0.1, target_std=0.3)).kind == "pass"
    assert judge(call("l1_loss", "tanh", target_min=-1.0, target_max=1.0, target_mean=-0.7, target_std=0.6)).kind == "pass"
    pixels = {"target_min": -0.42, "target_max": 2.82, "target_mean": 0.0, "target_std": 1.0}
    assert judge(call("mse_loss", "sigmoid", **pixels)).kind == "fail"


def test_distillation_takes_the_logarithm_of_the_student_only():
    assert judge(call("kl_div", "log_softmax", **LOG_PROBABILITIES)).kind == "pass"
    assert judge(call("kl_div", "softmax", **PROBABILITIES)).severity is Severity.ERROR


def test_the_worst_of_several_calls_speaks():
    verdict = judge(call("cross_entropy", "relu"), call("cross_entropy", "softmax", **PROBABILITIES))
    assert verdict.severity is Severity.ERROR


def test_losses_that_take_anything_are_not_judged():
    assert judge(call("triplet_margin_loss")).kind == "not-run"
    assert judge().kind == "not-run"


def test_calls_of_optimizers_that_take_turns_are_judged_too():
    probabilities = call("cross_entropy", "softmax", **PROBABILITIES)
    assert OutputActivation().judge(Loss(calls=(call("mse_loss"),), turns=(probabilities,))).severity is Severity.ERROR
