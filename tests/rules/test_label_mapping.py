from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import ClassMatch, ColourOrder, Labels, Mismatch
from trainlint.rule import Verdict
from trainlint_rules.label_mapping import LabelMapping

DATA = Location("train.py", 20)
FOUR = (0.0, 1.0, 2.0, 3.0)
AGREE = ClassMatch(samples=400, classes=FOUR, matched=FOUR, as_given=0.95, as_matched=0.95, held_out=0.97)
SHIFTED = replace(AGREE, classes=(1.0, 2.0, 3.0), matched=(0.0, 1.0, 2.0), as_given=0.02, as_matched=0.95, moved=(1.0, 2.0, 3.0), p=1e-40)
POOR = replace(AGREE, as_given=0.26, as_matched=0.31, held_out=0.27)
NAMES = {"0": "cat", "1": "dog", "2": "horse", "3": "owl"}
MIXED = {"0": "dog", "1": "horse", "2": "cat", "3": "owl"}


def judge(match: ClassMatch | None = None, **facts: object) -> Verdict:
    return LabelMapping().judge(Labels(match=match, where={"val": DATA}, **facts), ColourOrder())


def test_passes_when_classes_look_alike():
    assert judge(AGREE).kind == "pass"
    assert judge(AGREE, names={"train": NAMES, "val": NAMES}).kind == "pass"


def test_errs_when_names_have_other_labels():
    verdict = judge(POOR, names={"train": NAMES, "val": MIXED})
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.ERROR, DATA)
    assert "cat is 0 in training and 2 in validation" in verdict.message
    assert judge(None, names={"train": NAMES, "val": MIXED}).severity is Severity.ERROR


def test_labels_that_are_translated_later_agree_by_looks():
    assert judge(AGREE, names={"train": NAMES, "val": MIXED}).kind == "pass"


def test_names_of_other_classes_are_no_fault():
    assert judge(None, names={"train": NAMES, "val": {"0": "lion", "1": "tiger"}}).kind == "pass"


def test_errs_when_classes_look_shifted():
    verdict = judge(SHIFTED)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.ERROR)
    assert "shifted by +1" in verdict.message
    assert "2%" in verdict.message


def test_errs_when_two_classes_are_exchanged():
    swapped = replace(AGREE, matched=(0.0, 2.0, 1.0, 3.0), as_given=0.49, as_matched=0.95, moved=(1.0, 2.0), p=1e-30)
    verdict = judge(swapped)
    assert verdict.severity is Severity.ERROR
    assert "permuted" in verdict.message


def test_little_evidence_is_none():
    assert judge(replace(SHIFTED, p=1e-3)).kind == "not-run"
    assert judge(replace(SHIFTED, as_matched=0.2)).kind == "not-run"
    assert judge(POOR).kind == "not-run"


def test_warns_of_labels_that_run_from_another_number():
    verdict = judge(POOR, unseen=(4.0,), train_labels=FOUR, val_labels=(1.0, 2.0, 3.0, 4.0))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "+1" in verdict.message


def test_says_why_there_is_nothing_to_compare():
    assert judge(None, reasons={"val": "there is no validation DataLoader"}).message == "there is no validation DataLoader"


FOREIGN = Mismatch(
    other="the training data", samples=600, other_score=0.79, score=0.01, z=0.3, expected_z=15.0, own_z=14.0, confidence=0.98
)


def test_warns_when_nothing_of_training_holds_in_validation():
    verdict = judge(transfer=FOREIGN)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, DATA)
    assert "vocabulary" in verdict.message
    for sound in ({"score": 0.5}, {"score": -0.7}, {"own_z": 1.0}, {"confidence": 0.4}):
        assert judge(transfer=replace(FOREIGN, **sound)).kind != "fail"


def test_classes_that_look_like_others_for_their_colours_are_left_to_channel_order():
    colours = ColourOrder(samples=400, kind="classes", expected=0.96, as_given=0.37, order=(2, 1, 0), reordered=0.9, renamed=0.6, z=12.0)
    verdict = LabelMapping().judge(Labels(match=SHIFTED, where={"val": DATA}), colours)
    assert verdict.kind == "not-run"
    assert "channel-order" in verdict.message
