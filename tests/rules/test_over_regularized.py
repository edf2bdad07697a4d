from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Augmentation, Regulariser, ShortRun, ShortRuns
from trainlint.rule import Verdict
from trainlint_rules.over_regularized import OverRegularized

DROPOUT = Regulariser(kind="dropout", strength=0.95, where=Location("train.py", 11))
DECAY = Regulariser(kind="weight decay", strength=0.1, where=Location("train.py", 30))
OWN = ShortRun(purpose="configured", lr=1e-3, losses=(2.3,) * 32, clean=(2.3, 2.3, 2.29, 2.28))
FREE = ShortRun(purpose="free", lr=1e-3, losses=(2.3,) * 32, clean=(2.2, 1.9, 1.0, 0.6))


def judge(*runs: ShortRun, regularisers: tuple[Regulariser, ...] = (DROPOUT,), initial: float = 2.3) -> Verdict:
    facts = ShortRuns(
        optimizer="Adam",
        configured=1e-3,
        initial=initial,
        steps=32,
        checks=(4, 8, 16, 32),
        runs=runs or (OWN, FREE),
        regularisers=regularisers,
    )
    return OverRegularized().judge(facts)


def test_warns_when_the_free_run_learns_many_times_as_much():
    verdict = judge()
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "dropout 0.95" in verdict.message
    assert verdict.location == DROPOUT.where


def test_names_the_regulariser_that_makes_the_difference():
    lacking = (replace(OWN, purpose="without dropout"), replace(FREE, purpose="without weight decay"))
    verdict = judge(OWN, FREE, *lacking, regularisers=(DROPOUT, DECAY))
    assert verdict.location == DECAY.where
    assert "AdamW" in verdict.fix.code


def test_longer_runs_are_believed_before_short_ones():
    longer = (replace(OWN, purpose="configured, longer"), replace(FREE, purpose="free, longer"))
    little = replace(FREE, clean=(2.3, 2.3, 2.29, 2.25))
    assert judge(OWN, little).kind == "pass"
    assert judge(OWN, little, *longer).kind == "fail"


def test_healthy_dropout_passes():
    assert judge(replace(OWN, clean=(2.28, 2.2, 2.0, 1.3)), FREE).kind == "pass"


def test_no_regularisation_passes():
    assert judge(regularisers=()).kind == "pass"


def test_a_free_run_that_learns_nothing_says_nothing():
    assert judge(OWN, replace(FREE, clean=(2.3, 2.3, 2.25, 2.2))).kind == "pass"


def test_a_loss_below_zero_is_compared_all_the_same():
    assert judge(replace(OWN, clean=(-1.0, -1.0, -1.02, -1.05)), replace(FREE, clean=(-1.5, -2.0, -3.0, -4.0)), initial=-1.0).kind == "fail"


def test_runs_that_diverged_are_not_compared():
    assert judge(replace(OWN, diverged=True), FREE).kind == "not-run"


def augmentation(plain: tuple[float, ...] | None) -> ShortRuns:
    own = replace(OWN, purpose="augmented")
    free = None if plain is None else replace(FREE, purpose="plain", clean=plain)
    found = Augmentation(
        where=Location("data.py", 7), transforms=("RandomErasing",), initial=2.3, checks=(4, 8, 16, 32), augmented=own, plain=free
    )
    return ShortRuns(optimizer="Adam", initial=2.3, checks=(4, 8, 16, 32), runs=(replace(FREE, purpose="configured"),), augmentation=found)


def test_augmentation_that_hides_what_there_is_to_learn_is_named():
    verdict = OverRegularized().judge(augmentation((2.2, 1.9, 1.0, 0.6)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.NOTE, Location("data.py", 7))
    assert "RandomErasing" in verdict.message


def test_augmentation_under_which_as_much_is_learned_passes():
    assert OverRegularized().judge(augmentation((2.29, 2.285, 2.2, 2.0))).kind == "pass"
    assert OverRegularized().judge(augmentation((2.2,))).kind == "pass"
    assert OverRegularized().judge(augmentation(None)).kind == "pass"
