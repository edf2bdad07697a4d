from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Optimizers, SchedulerInfo, ShortRun, ShortRuns
from trainlint.rule import Verdict
from trainlint_rules.warmup_missing import WarmupMissing

WHERE = Location("train.py", 41)
STUCK = ShortRun(purpose="configured", lr=3e-3, losses=(1.5, 2.0, 1.4), clean=(2.1, 1.5, 1.39), gradient_norms=(3.0, 4.2))
WARMED = ShortRun(purpose="warm-up", lr=3e-3, warm_up=16, losses=(1.5, 1.4, 0.7), clean=(1.4, 1.0, 0.4), gradient_norms=(3.0, 5.0))


def judge(own: ShortRun = STUCK, warm: ShortRun | None = WARMED, **changes: object) -> Verdict:
    facts = ShortRuns(
        optimizer="Adam", where=WHERE, configured=3e-3, first=3e-3, initial=1.43, steps=32, checks=(1, 16, 32),
        runs=(own,) if warm is None else (own, warm), attention=True, post_norm=True,
    )  # fmt: skip
    return WarmupMissing().judge(replace(facts, **changes), Optimizers())


def test_warns_when_only_a_warm_up_lets_it_learn():
    verdict = judge()
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "1.43 to 2.1" in verdict.message
    assert "norms after the sums" in verdict.message
    assert verdict.location == WHERE


def test_a_network_without_attention_is_judged_by_the_same_measure():
    assert "a network" in judge(attention=False, post_norm=False).message


def test_a_divergence_that_the_warm_up_prevents_is_a_failure():
    assert "diverges" in judge(replace(STUCK, diverged=True)).message


def test_a_jump_that_is_overcome_passes():
    assert judge(replace(STUCK, clean=(6.5, 1.5, 0.4))).kind == "pass"


def test_a_rate_that_a_warm_up_does_not_mend_passes():
    assert judge(warm=replace(WARMED, clean=(1.4, 1.4, 1.39))).kind == "pass"
    assert judge(warm=replace(WARMED, clean=(1.4, 3.0, 1.0))).kind == "pass"


def test_slow_learning_without_a_jump_passes():
    assert judge(replace(STUCK, clean=(1.43, 1.42, 1.41))).kind == "pass"


def test_a_warmed_up_run_passes():
    assert judge(replace(STUCK, warm_up=16), None, first=1e-5).kind == "pass"


def test_pretrained_weights_are_another_rules_matter():
    assert judge(pretrained=1.0).kind == "pass"


def test_no_warm_up_run_means_there_was_no_need():
    assert judge(warm=None).kind == "pass"


def test_warns_of_a_warm_up_that_the_schedule_ignores():
    for told, words in ((100.0, "over 100 steps"), (0.06, "over 6% of the run")):
        schedule = SchedulerInfo(kind="LambdaLR", ignored_warmup=told, told_where=WHERE)
        verdict = WarmupMissing().judge(ShortRuns(configured=2e-3), Optimizers(schedulers=(schedule,)))
        assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, WHERE)
        assert words in verdict.message
        assert "0.002 from the first step" in verdict.message
        assert WarmupMissing().judge(ShortRuns(pretrained=1.0), Optimizers(schedulers=(schedule,))).severity is Severity.NOTE
