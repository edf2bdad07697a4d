from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import ShortRun, ShortRuns
from trainlint.rule import Verdict
from trainlint_rules.finetune_lr import FinetuneLearningRate

WHERE = Location("train.py", 30)
WILD = ShortRun(purpose="configured", lr=0.1, losses=(1.6,) * 32, clean=(1.4, 2.2, 0.7, 0.3), moved=1.3)
CALM = ShortRun(purpose="gentle", lr=0.005, losses=(1.6,) * 32, clean=(1.2, 0.9, 0.2, 0.03), moved=0.07)


def judge(own: ShortRun = WILD, gentle: ShortRun = CALM, **changes: object) -> Verdict:
    facts = ShortRuns(
        optimizer="SGD", where=WHERE, configured=0.1, first=0.1, initial=1.5, steps=32, checks=(1, 4, 16, 32), runs=(own, gentle),
        pretrained=1.0, pretrained_how="load_state_dict()",
    )  # fmt: skip
    return FinetuneLearningRate().judge(replace(facts, **changes))


def test_warns_when_the_weights_are_overwritten():
    verdict = judge()
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "130%" in verdict.message
    assert "2.2" in verdict.message
    assert verdict.location == WHERE
    assert "lr=0.005" in verdict.fix.code


def test_warns_when_the_loss_diverges():
    verdict = judge(replace(WILD, diverged=True, clean=()))
    assert verdict.kind == "fail"
    assert "diverges" in verdict.message


def test_weights_from_scratch_pass():
    assert judge(pretrained=0.0).kind == "pass"


def test_a_resumed_run_passes():
    assert judge(resumed=True).kind == "pass"


def test_a_long_way_without_a_jump_passes():
    assert judge(replace(WILD, clean=(1.0, 0.5, 0.1, 0.01))).kind == "pass"


def test_a_jump_of_a_new_head_that_leaves_the_body_alone_passes():
    assert judge(replace(WILD, moved=0.05)).kind == "pass"


def test_a_loss_that_jumps_at_the_low_rate_too_passes():
    assert judge(gentle=replace(CALM, clean=(2.0, 1.9, 1.0, 0.03))).kind == "pass"


def test_a_high_rate_that_ends_ahead_passes():
    assert judge(gentle=replace(CALM, clean=(1.4, 1.3, 1.0, 0.9))).kind == "pass"


def test_weights_that_moved_beyond_themselves_are_lost_though_the_rate_ends_ahead():
    ahead = replace(WILD, clean=(7.5, 1.3, 0.5, 0.01), moved=2.7)
    assert judge(ahead).severity is Severity.WARNING
    assert judge(replace(ahead, moved=0.8)).kind == "pass"


def test_says_so_when_nothing_was_replayed():
    assert judge(runs=()).kind == "not-run"
