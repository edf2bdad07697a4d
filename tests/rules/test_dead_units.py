from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Activation, Activations, Weighing
from trainlint_rules.dead_units import DeadUnits

HERE = Location("net.py", 22)


def layer(kind: str = "relu", *, dead: float = 0.0, saturated: float = 0.0, units: int = 64, largest: float = 1.0) -> Activation:
    return Activation(module="block", kind=kind, dead_units=dead, saturated=saturated, units=units, absolute_max=largest, where=HERE)


def judge(*layers: Activation):
    return DeadUnits().judge(Activations(layers=layers))


def test_passes_live_layers():
    assert judge(layer("linear"), layer(dead=0.05), layer("linear")).kind == "pass"


def test_fails_when_a_whole_layer_is_silent():
    verdict = judge(layer("conv2d"), layer(dead=1.0), layer("conv2d"))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == HERE
    assert "All 64 units of block (relu)" in verdict.message


def test_warns_when_most_units_are_silent():
    assert judge(layer("linear"), layer(dead=0.95), layer("linear")).severity is Severity.WARNING


def test_warns_of_saturated_hidden_units():
    assert judge(layer("linear"), layer("tanh", saturated=0.8), layer("linear")).severity is Severity.WARNING


def test_passes_the_silence_of_half_the_units_in_a_deep_plain_network():
    assert judge(layer("linear"), layer(dead=0.6), layer("linear"), layer(dead=0.55)).kind == "pass"


def test_only_warns_of_a_small_silent_layer():
    assert judge(layer("linear"), layer(dead=1.0, units=8), layer("linear")).severity is Severity.WARNING


def test_passes_a_relu_behind_a_zero_initialised_layer():
    assert judge(layer("conv2d"), layer("batch_norm", largest=0.0), layer(dead=1.0), layer("linear")).kind == "pass"


def test_passes_a_confident_output_layer():
    assert judge(layer("conv2d"), layer("conv2d"), layer("sigmoid", saturated=0.97)).kind == "pass"


def test_does_not_judge_nothing():
    assert judge().kind == "not-run"


def test_says_which_kinds_of_layers_there_are():
    assert judge(layer("relu", dead=0.2), layer("linear")).message == (
        "At most 20% of a layer's ReLU units are silent on the batch, and there are no tanh or sigmoid layers."
    )
    assert judge(layer("tanh", saturated=0.1), layer("linear")).message == (
        "There are no ReLU or GELU layers, at most 10% of a layer's tanh or sigmoid outputs are saturated."
    )


def test_weights_that_start_too_large_are_named_as_the_cause():
    made = Location("net.py", 7)
    tail = layer("tanh", saturated=0.7)
    large = replace(tail, weighing=Weighing(weights="experts.weight", std=1.0, inputs=64, where=made))
    verdict = judge(layer("bmm"), large, layer("bmm"))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, made)
    assert "standard deviation of 1 for 64 inputs each, so that sums are some 8.0 times" in verdict.message
    usual = replace(tail, weighing=Weighing(weights="experts.weight", std=0.2, inputs=64, where=made))
    assert judge(layer("bmm"), usual, layer("bmm")).location == HERE
