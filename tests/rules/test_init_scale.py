from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Activation, Activations, ParameterInfo, Parameters
from trainlint_rules.init_scale import InitScale

HERE = Location("net.py", 14)


def layer(std: float, kind: str = "linear", *, identical: bool = False, module: str = "") -> Activation:
    return Activation(module=module, kind=kind, std=std, absolute_max=4 * std, identical_samples=identical, units=128, where=HERE)


def judge(*layers: Activation, parameters: tuple[ParameterInfo, ...] = ()):
    return InitScale().judge(Activations(layers=layers), Parameters(parameters=parameters))


def matrix(name: str, **facts: object) -> ParameterInfo:
    given = {"shape": (8, 4), "size": 32, "requires_grad": True, "where": HERE, "module": name, "module_kind": "Linear", **facts}
    return ParameterInfo(name=f"{name}.weight", **given)


def stack(*stds: float) -> list[Activation]:
    return [layer(std, kind) for std in stds for kind in ("linear", "relu")]


def test_passes_when_the_scale_is_kept():
    verdict = judge(*stack(0.6, 0.5, 0.4, 0.4))
    assert verdict.kind == "pass"
    assert "0.6" in verdict.message


def test_fails_when_the_output_explodes():
    verdict = judge(*stack(8.0, 90.0, 900.0, 9000.0), layer(40000.0, module="head"))
    assert verdict.kind == "fail"
    assert verdict.severity is Severity.ERROR
    assert verdict.evidence["measured"] == pytest.approx(5000.0)
    assert verdict.location == HERE
    assert "head (linear)" in verdict.message


def test_warns_when_a_later_normalisation_tames_the_growth():
    verdict = judge(*stack(1.0, 50.0, 400.0), layer(1.0, "layer_norm"), layer(0.5))
    assert verdict.severity is Severity.WARNING


def test_fails_when_every_sample_looks_the_same_from_some_layer_on():
    verdict = judge(*stack(0.6, 0.3), *[layer(0.05, identical=True), layer(0.03, "sigmoid", identical=True)] * 3)
    assert verdict.severity is Severity.ERROR
    assert "From layer 5 of 10" in verdict.message


def test_warns_when_the_first_steps_heal_the_collapse():
    layers = (*stack(0.6, 0.3), *[layer(0.05, identical=True)] * 3)
    verdict = InitScale().judge(Activations(layers=layers, told_apart_later=True), Parameters())
    assert verdict.severity is Severity.WARNING
    assert "until the first steps" in verdict.message


def test_names_of_layer_classes_are_known_too():
    verdict = judge(*stack(0.6, 0.3), *[layer(0.05, "Linear", identical=True)] * 3)
    assert verdict.kind == "fail"


def test_passes_a_zero_initialised_head():
    assert judge(*stack(0.6, 0.5, 0.5), layer(0.0, identical=True), layer(0.0, "softmax", identical=True)).kind == "pass"


def test_passes_layer_scale_and_zero_initialised_branches():
    block = [layer(0.5), layer(1e-6, "mul"), layer(0.0, "batch_norm", identical=True)]
    assert judge(layer(1.0, "conv2d"), *block, *block, layer(1.0, "layer_norm"), layer(0.4)).kind == "pass"


def test_passes_position_embeddings_that_are_equal_for_all_samples():
    assert judge(layer(0.02, "embedding"), layer(0.02, "embedding", identical=True), layer(1.0, "layer_norm"), layer(0.5)).kind == "pass"


def test_passes_small_embeddings_before_a_layer_norm():
    assert judge(layer(0.02, "embedding"), layer(1.0, "layer_norm"), layer(1.2), layer(0.6)).kind == "pass"


def test_passes_large_inputs_whose_scale_the_network_keeps():
    assert judge(*stack(150.0, 90.0, 60.0), layer(40.0)).kind == "pass"


def test_does_not_judge_a_single_layer():
    assert judge(layer(0.5)).kind == "not-run"


def test_fails_when_units_stay_copies_of_each_other():
    verdict = judge(*stack(0.6, 0.5), parameters=(matrix("hidden", identical_units=True), matrix("out")))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, HERE)
    assert "All 8 units of hidden" in verdict.message


def test_fails_when_matrices_of_zeros_wait_for_each_other():
    waiting = [matrix(name, zero_init=True, gradient="zero") for name in ("hidden", "out")]
    assert judge(*stack(0.6, 0.5), parameters=tuple(waiting)).kind == "fail"
    assert judge(*stack(0.6, 0.5), parameters=(waiting[0], matrix("out", zero_init=True))).kind == "pass"


def test_silent_units_are_left_to_the_rule_that_judges_them():
    dead = Activation(module="1", kind="relu", dead_units=1.0, identical_samples=True, where=HERE)
    assert judge(layer(0.6), dead, *[layer(0.05, identical=True)] * 3).kind == "pass"


def test_inputs_that_are_alike_from_the_first_layer_on_are_left_to_the_rule_that_judges_them():
    assert judge(*[layer(0.05, identical=True)] * 4).kind == "pass"


def test_warns_when_one_layer_multiplies_the_scale_of_its_input():
    steep = Activation(module="rnn", kind="rnn_relu", std=400.0, gain=400.0, where=HERE)
    verdict = judge(steep, layer(90.0))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, HERE)
    assert judge(replace(steep, gain=2.0), layer(90.0), layer(90.0)).kind == "pass"
