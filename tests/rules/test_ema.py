from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Edit, Severity
from trainlint.location import Location
from trainlint.measurements import Ema, EmaCopy, KeptBest, KeptWeights, RunningStatistics
from trainlint.rule import Verdict
from trainlint_rules.ema import EmaRule

SLOW = EmaCopy(kind="AveragedModel", where=Location("train.py", 9), decays=(0.0, 0.9999, 0.9999), updates=10, watched=10, is_average=True)
STILL = EmaCopy(kind="Net", where=Location("train.py", 9), watched=10)


def judge(*copies: EmaCopy, per_epoch: int | None = 50, epochs: int | None = 10) -> Verdict:
    return EmaRule().judge(Ema(copies=copies, steps_per_epoch=per_epoch, epochs=epochs))


def test_warns_of_a_horizon_longer_than_the_run():
    verdict = judge(SLOW)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "10,000 updates" in verdict.message
    assert "500" in verdict.message
    assert verdict.location == SLOW.where


def test_the_same_average_passes_in_a_long_run():
    assert judge(SLOW, per_epoch=5000).kind == "pass"


def test_a_decay_that_is_warmed_up_passes():
    assert judge(replace(SLOW, declared=0.9999, decays=(0.18, 0.25, 0.4))).kind == "pass"


def test_updates_every_tenth_step_count_a_tenth():
    assert judge(replace(SLOW, decays=(0.99,) * 3, updates=3, watched=30), epochs=10).kind == "fail"
    assert judge(replace(SLOW, decays=(0.99,) * 3, updates=10, watched=10), epochs=10).kind == "pass"


def test_a_run_of_unknown_length_passes():
    assert judge(SLOW, epochs=None).kind == "pass"


def test_equal_weights_are_no_moving_average():
    assert judge(replace(SLOW, equal_weights=True)).kind == "pass"


def test_warns_of_a_copy_that_is_evaluated_but_stands_still():
    verdict = judge(replace(STILL, evaluated=True))
    assert verdict.severity is Severity.WARNING
    assert "did not move in 10" in verdict.message


def test_an_average_that_may_begin_later_is_a_note():
    assert judge(replace(STILL, is_average=True)).severity is Severity.NOTE
    assert judge(replace(STILL, is_average=True, equal_weights=True)).kind == "pass"


def test_teachers_and_checkpoints_that_stand_still_pass():
    assert judge(STILL).kind == "pass"


def test_warns_of_an_average_that_stays_in_the_model():
    line = Location("train.py", 30)
    verdict = judge(replace(SLOW, decays=(0.99,) * 5, replaces_weights=True, replaced_where=line))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "the next optimizer step starts from the average" in verdict.message


@pytest.mark.parametrize(("name", "words"), [("slow", "gives the new value to slow"), ("", "makes a new tensor, which nothing keeps")])
def test_warns_of_a_copy_whose_update_goes_nowhere(name: str, words: str) -> None:
    verdict = judge(replace(STILL, lost_to=name))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, STILL.where)
    assert words in verdict.message
    assert judge(replace(STILL, lost_to=name, watched=2)).kind == "pass"


def test_warns_of_an_average_that_the_loop_will_leave_in_the_model():
    line = Location("train.py", 30, "ema.swap_in()")
    verdict = judge(replace(SLOW, decays=(0.99,) * 5, left_where=line, restorer="swap_out"))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "swap_out(), which would do it, is called nowhere" in verdict.message
    assert judge(replace(STILL, left_where=line, restorer="swap_out")).kind == "pass"


def test_no_copies_pass():
    assert judge().kind == "pass"


def test_warns_of_an_evaluated_average_without_running_statistics():
    moving = replace(SLOW, decays=(0.9,) * 10, evaluated=True, fresh_statistics=2)
    assert judge(moving).severity is Severity.WARNING
    assert "2 batch-norm layers" in judge(moving).message
    assert judge(replace(moving, evaluated=False)).kind == "pass"


@pytest.mark.parametrize(
    ("momentum", "epochs", "failed"), [(1e-4, 10, True), (1e-4, 1000, False), (0.99, None, True), (0.01, 10, False), (0.1, 1, False)]
)
def test_running_statistics_that_hardly_move_or_hold_the_last_batch_only_are_told(momentum, epochs, failed):
    found = Ema(
        statistics=(RunningStatistics(momentum=momentum, layers=3, fresh=True),),
        steps_per_epoch=3 if momentum == 0.1 else 50,
        epochs=epochs,
    )
    verdict = EmaRule().judge(found)
    assert (verdict.kind == "fail") is failed
    assert not failed or f"3 batch-norm layers with a momentum of {momentum:g}" in verdict.message


def test_statistics_that_were_loaded_may_stand_still():
    found = Ema(statistics=(RunningStatistics(momentum=0.0, layers=3),), steps_per_epoch=50, epochs=10)
    assert EmaRule().judge(found).kind == "pass"


@pytest.mark.parametrize("kind", ["state", "model", "itself"])
def test_warns_of_weights_that_are_kept_without_a_copy(kind):
    kept = KeptWeights(kind=kind, what="best_state", where=Location("train.py", 31))
    verdict = EmaRule().judge(Ema(kept=(kept,)))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, kept.where)
    assert "best_state" in verdict.message
    assert verdict.fix is not None
    assert verdict.fix.edit == (Edit(kind="copy-kept", values={"what": "best_state"}) if kind != "itself" else None)


@pytest.mark.parametrize(
    ("declared", "per_epoch", "better"), [(0.9999, 50, 0.98), (None, 50, 0.98), (0.9999, 950, 0.999), (0.9999, 1, 0.5)]
)
def test_a_better_decay_is_written_for_the_one_that_is_used(declared, per_epoch, better):
    measured = (0.99990003,) * 9
    verdict = judge(replace(SLOW, declared=declared, decays=measured), per_epoch=per_epoch)
    assert verdict.fix is not None
    assert verdict.fix.edit == Edit(kind="average-decay", values={"decay": 0.9999, "new": better})
    assert f"about {better:g}," in verdict.fix.summary


@pytest.mark.parametrize(
    ("momentum", "epochs", "meant"), [(0.99, 10, 0.01), (0.999, 10, 0.1), (0.997, None, 0.003), (1.0, 10, 0.1), (1e-4, 10, 0.1)]
)
def test_a_momentum_of_other_libraries_is_translated_where_the_run_is_long_enough(momentum, epochs, meant):
    norms = RunningStatistics(momentum=momentum, layers=3, fresh=True)
    verdict = EmaRule().judge(Ema(statistics=(norms,), steps_per_epoch=50, epochs=epochs))
    assert verdict.fix is not None
    assert verdict.fix.edit == Edit(kind="norm-momentum", values={"momentum": momentum, "new": meant})


def test_warns_of_a_checkpoint_that_is_picked_in_the_wrong_direction():
    line, call = Location("train.py", 12, 'metric_for_best_model="mae"'), Location("train.py", 9)
    told = {"kind": "TrainingArguments", "metric": "mae", "setting": "greater_is_better", "by_default": True, "keeps": True}
    best = KeptBest(rises=False, rising_is_better=True, where=line, built_where=call, **told)
    verdict = EmaRule().judge(Ema(best=(best,)))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "greater_is_better=True, its default" in verdict.message
    assert "keeps the worst weights" in verdict.message
    assert verdict.fix.edit == Edit(
        kind="better-direction", at=call, values={"metric": "mae", "setting": "greater_is_better", "better": "False"}
    )
    assert EmaRule().judge(Ema(best=(replace(best, rising_is_better=False),))).kind == "pass"


def test_warns_of_early_stopping_that_takes_success_for_failure():
    best = KeptBest(kind="EarlyStopping", metric="val_acc", rises=True, rising_is_better=False, setting="mode", stops=True)
    verdict = EmaRule().judge(Ema(best=(best,)))
    assert "stops the run early" in verdict.message
    assert "mode=min" in verdict.message
    assert 'mode="max"' in verdict.fix.code
    assert verdict.fix.edit is None


@pytest.mark.parametrize(
    ("setting", "told", "code"),
    [
        ("lower_is_better", "lower_is_better=False", "lower_is_better=True"),
        ("score_function", "returns it as it is", '-engine.state.metrics["val_loss"]'),
    ],
)
def test_the_direction_is_said_as_the_library_says_it(setting: str, told: str, code: str) -> None:
    best = KeptBest(kind="EarlyStopping", metric="val_loss", rises=False, rising_is_better=True, setting=setting, stops=True)
    verdict = EmaRule().judge(Ema(best=(best,)))
    assert told in verdict.message
    assert code in verdict.fix.code
