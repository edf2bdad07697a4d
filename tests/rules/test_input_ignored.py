from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Activation, Activations, Collapsed, Influence, InputEffect, Loss
from trainlint.rule import Verdict
from trainlint_rules.input_ignored import InputIgnored

PLACE = Location("model.py", 20)


def judge(
    together: InputEffect, *alone: InputEffect, lost_in: str = "", dead: float = 0.0, losses: tuple[float, ...] = (0.7, 0.0)
) -> Verdict:
    layers = Activations(layers=(Activation(module="body.1", kind="relu", dead_units=dead, units=32),))
    influence = Influence(together=together, inputs=alone, samples=32, lost_in=lost_in, where=PLACE)
    return InputIgnored().judge(influence, layers, Loss(values=losses))


def effect(change: float = 0.0, gradient: float = 0.0, path: str = "[0]", *, connected: bool = True) -> InputEffect:
    return InputEffect(path=path, shape=(32, 8), change=change, gradient_change=gradient, connected=connected)


def test_errs_when_neither_predictions_nor_gradients_change():
    verdict = judge(effect(gradient=3e-6), lost_in="layer_norm")
    assert (verdict.severity, verdict.location) == (Severity.ERROR, PLACE)
    assert "layer_norm passes nothing on" in verdict.message


def test_errs_when_nothing_leads_from_the_batch():
    assert "no operation leads from the batch" in judge(effect(connected=False)).message


def test_warns_of_one_of_several_inputs():
    verdict = judge(effect(0.5), effect(0.5), effect(path="[1]", connected=False))
    assert verdict.severity is Severity.WARNING
    assert "[1] (32, 8)" in verdict.message


@pytest.mark.parametrize(
    ("together", "alone"),
    [
        (effect(0.3), ()),
        (effect(0.0, 0.4), ()),  # a last layer that begins at zero
        (effect(0.3), (effect(0.3), effect(0.0, 0.2, "[1]"))),  # a branch that begins at zero
        (effect(1e-3), ()),  # a posterior that hardly looks
    ],
)
def test_passes_models_that_can_learn_from_their_inputs(together: InputEffect, alone: tuple[InputEffect, ...]):
    assert judge(together, *alone).kind == "pass"


def test_leaves_a_layer_of_dead_units_to_its_own_rule():
    assert judge(effect(), lost_in="relu", dead=1.0).kind == "not-run"
    assert judge(effect(), lost_in="layer_norm", dead=1.0).kind == "fail"


def test_is_silent_about_a_loss_that_is_always_zero():
    assert judge(effect(), lost_in="mul", losses=(0.0, 0.0)).kind == "not-run"
    assert judge(effect(connected=False), losses=(0.0, 0.0)).kind == "fail"


def test_warns_of_numbers_that_a_cast_makes_equal():
    cast = Collapsed(numbers=31, low=0.01, high=0.99, look_up="embedding", where=PLACE)
    layers, loss = Activations(), Loss()
    verdict = InputIgnored().judge(Influence(together=effect(0.5), collapsed=(cast,)), layers, loss)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, PLACE)
    assert "embedding gives every sample the same" in verdict.message
    assert InputIgnored().judge(Influence(collapsed=(cast,)), layers, loss).severity is Severity.WARNING
    assert InputIgnored().judge(Influence(together=effect(), collapsed=(cast,)), layers, loss).severity is Severity.ERROR
