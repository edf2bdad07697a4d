from __future__ import annotations

from dataclasses import replace

from trainlint.engine import Judge
from trainlint.finding import Outcome, Severity
from trainlint.location import Location
from trainlint.measurements import Attempt, Overfit, ParameterInfo, Parameters
from trainlint.registry import load_catalogue
from trainlint.rule import Verdict
from trainlint_rules.capacity import Capacity

FLAT = Attempt(optimizer="Adam", lr=1e-3, losses=(0.73,) + (0.6,) * 199)
STUCK = Overfit(attempts=(FLAT,), batch_size=128, initial=0.73, final=0.6, reached=0.82, accuracy=0.65, kind="cross_entropy")
MODEL = Parameters(
    parameters=(ParameterInfo(name="weight", module="", module_kind="Linear", shape=(2, 6), size=12, requires_grad=True),),
    model_where=Location("train.py", 22),
)


def judge(**changes: object) -> Verdict:
    return Capacity().judge(replace(STUCK, **changes), MODEL)


def test_warns_of_a_loss_that_fell_and_stands_still():
    verdict = judge()
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "12 trainable parameters, fewer than" in verdict.message
    assert verdict.location == MODEL.model_where


def test_speaks_beside_what_it_explains_and_beside_no_other_error_or_warning():
    known = lambda kind: MODEL if kind is Parameters else replace(STUCK, batch_size=4)  # noqa: E731
    batch, capacity = Judge(load_catalogue().choose(("overfit-batch", "capacity")), known).findings()
    assert (batch.outcome, capacity.outcome) == (Outcome.FAIL, Outcome.FAIL)
    assert "No rule found a cause" in capacity.message


def test_a_fitted_batch_passes():
    assert judge(reached=0.02, accuracy=1.0).kind == "pass"
    assert judge(reached=0.5, accuracy=1.0).kind == "pass"


def test_a_loss_that_still_falls_is_not_judged():
    falling = Attempt(optimizer="Adam", lr=1e-3, losses=tuple(0.73 * 0.99**i for i in range(200)))
    assert judge(attempts=(falling,)).kind == "not-run"


def test_a_loss_that_never_fell_is_no_lack_of_capacity():
    assert judge(reached=1.0, final=0.73).kind == "not-run"


def test_contradicting_samples_are_no_lack_of_capacity():
    assert judge(conflicting=4).kind == "not-run"


def test_a_loss_without_a_known_floor_is_not_judged():
    assert judge(unbounded=True).kind == "not-run"
    assert judge(attempts=()).kind == "not-run"
