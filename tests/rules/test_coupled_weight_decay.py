from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers, ParameterInfo, Parameters
from trainlint.rule import Verdict
from trainlint_rules.coupled_weight_decay import CoupledWeightDecay

WHERE = Location("train.py", 25)


def judge(kind: str, *decays: float, gradient: float = 1.0, **options: bool) -> Verdict:
    groups = tuple(GroupInfo(lr=2e-3, first_lr=2e-3, weight_decay=decay) for decay in decays)
    optimizer = OptimizerInfo(index=0, kind=kind, where=WHERE, groups=groups, options=options)
    weight = ParameterInfo(
        name="fc.weight",
        module="fc",
        module_kind="Linear",
        shape=(64, 64),
        size=4096,
        requires_grad=True,
        optimizer=0,
        gradient_norm=gradient,
        weight_norm=5.0,
    )
    return CoupledWeightDecay().judge(Optimizers(optimizers=(optimizer,)), Parameters(parameters=(weight,)))


@pytest.mark.parametrize("kind", ["Adam", "NAdam", "RMSprop"])
def test_warns_of_a_decay_made_for_adamw(kind):
    verdict = judge(kind, 0.1)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert verdict.location == WHERE
    assert "AdamW(model.parameters(), lr=0.002, weight_decay=0.1)" in verdict.fix.code


def test_says_how_strongly_decay_pulls():
    assert "50 times the gradient" in judge("Adam", 0.1, gradient=0.01).message


def test_warns_of_a_smaller_decay_that_outweighs_the_loss():
    assert judge("Adam", 2e-3, gradient=1e-3).severity is Severity.WARNING


def test_the_usual_recipe_of_graph_networks_is_a_note():
    assert judge("Adam", 5e-4, gradient=1e-3).severity is Severity.NOTE


def test_one_decaying_group_is_enough():
    assert judge("Adam", 0.0, 0.1).severity is Severity.WARNING


@pytest.mark.parametrize(("kind", "decay"), [("AdamW", 0.1), ("SGD", 5e-4), ("Adam", 0.0), ("RMSprop", 1e-8)])
def test_passes_decoupled_plain_and_negligible_decay(kind, decay):
    assert judge(kind, decay).kind == "pass"


def test_passes_adam_that_was_told_to_decouple():
    assert judge("NAdam", 0.1, decoupled_weight_decay=True).kind == "pass"


def test_is_not_run_without_an_optimizer():
    assert CoupledWeightDecay().judge(Optimizers(), Parameters()).kind == "not-run"
