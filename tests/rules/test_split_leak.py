from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import CarriedOver, Shared, SplitOverlap
from trainlint.rule import Verdict
from trainlint_rules.split_leak import SplitLeak

DATA = Location("train.py", 20)
CLEAN = Shared(where=DATA, how="content", train_total=5000, val_total=1000, train_read=5000, val_read=1000, found=0, size=2000)
LEAK = replace(CLEAN, found=400, examples=((1, 7),))
WHOLE = replace(CLEAN, how="dataset", train_total=1000, train_read=1000, found=1000)


def judge(*pairs: Shared) -> Verdict:
    return SplitLeak().judge(SplitOverlap(pairs=pairs, reason="nothing to compare"))


def test_passes_clean_splits_and_says_how_many_were_compared():
    verdict = judge(CLEAN)
    assert verdict.kind == "pass"
    assert "1,000 validation samples" in verdict.message


def test_errs_when_validation_holds_training_samples():
    verdict = judge(LEAK)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "40.0%" in verdict.message
    assert judge(replace(LEAK, how="indices")).severity is Severity.ERROR
    assert judge(replace(LEAK, waiting=True)).severity is Severity.WARNING


def test_warns_of_few_and_forgives_fewer():
    assert judge(replace(LEAK, found=20)).severity is Severity.WARNING
    assert judge(replace(LEAK, found=3)).kind == "pass"
    assert judge(replace(LEAK, found=1, val_read=50)).kind == "pass"


def test_samples_that_repeat_by_nature_are_a_note():
    assert judge(replace(LEAK, size=60, repeated=0.35)).severity is Severity.NOTE
    assert judge(replace(LEAK, size=60, repeated=0.01)).severity is Severity.ERROR
    assert judge(replace(LEAK, size=60, repeated=0.35, distinct=0.9)).severity is Severity.ERROR
    assert judge(replace(LEAK, size=2000, repeated=0.35)).severity is Severity.ERROR


def test_small_pictures_that_repeat_as_often_in_training_were_oversampled_unless_they_are_few_patterns():
    digits = replace(LEAK, size=60, repeated=0.35, pictures=True)
    assert judge(replace(digits, different=0.8)).severity is Severity.WARNING
    assert judge(replace(digits, different=0.05)).severity is Severity.NOTE


def test_warns_of_validation_on_the_training_data():
    assert judge(WHOLE).severity is Severity.WARNING


def test_training_accuracy_beside_a_validation_is_no_leak():
    assert judge(WHOLE, CLEAN).kind == "pass"
    assert judge(replace(WHOLE, how="indices", val_read=300, val_total=300, found=300), CLEAN).kind == "pass"
    assert judge(replace(LEAK, how="indices"), CLEAN).severity is Severity.ERROR


def test_a_dataset_that_is_built_twice_is_the_same_data():
    twice = replace(WHOLE, how="content", train_total=6000, train_read=6000, val_total=6000, val_read=1000, found=1000)
    assert judge(twice).severity is Severity.WARNING
    assert judge(twice, CLEAN).kind == "pass"
    assert judge(replace(twice, val_total=1000)).severity is Severity.ERROR


def test_the_same_loader_for_both_is_no_split():
    assert judge(replace(WHOLE, how="loader")).kind == "pass"


def test_blank_samples_mean_nothing():
    assert judge(replace(CLEAN, poor=1000, size=12)).kind == "not-run"
    assert judge().message == "nothing to compare"


def test_warns_of_windows_that_overlap_and_not_of_a_border():
    verdict = judge(replace(CLEAN, windows=100, overlapping=97))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, DATA)
    assert "split at random" in verdict.message
    assert judge(replace(CLEAN, windows=100, overlapping=12)).kind == "pass"


@pytest.mark.parametrize(("warm", "words"), [(True, "warm_start"), (False, "in a loop over folds")])
def test_warns_of_a_model_that_goes_on_from_fold_to_fold(warm: bool, words: str) -> None:
    carried = CarriedOver(name="net", warm_start=warm, where=Location("cv.py", 12))
    verdict = SplitLeak().judge(SplitOverlap(carried=carried))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, carried.where)
    assert words in verdict.message
