from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Labels, Signal, Suspect
from trainlint.rule import Verdict
from trainlint_rules.label_noise import LabelNoise

DATA = Location("train.py", 12)
SIGNAL = Signal(phase="train", kind="classes", samples=1000, total=1000, score=0.9, chance=0.0, z=40.0, p=0.0, accuracy=0.92, classes=10)
NOISY = Labels(
    signals=(SIGNAL,),
    where={"train": DATA},
    held_out=0.92,
    suspects=tuple(Suspect(index=i, label=1.0, predicted=7.0, confidence=0.98) for i in range(40)),
    suspect_share=0.05,
    ambiguous=0.02,
    looked_at=1000,
)


def judge(labels: Labels) -> Verdict:
    return LabelNoise().judge(labels)


def test_warns_of_many_contradicted_labels_on_clear_classes():
    verdict = judge(replace(NOISY, names={"train": {"1": "cat", "7": "dog"}}))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, DATA)
    assert "5.0%" in verdict.message
    assert "cat" in verdict.message
    assert verdict.details[0].rows[0][:3] == (0, "cat", "dog")


def test_classes_that_overlap_pass():
    assert judge(replace(NOISY, suspect_share=0.186, ambiguous=0.299, held_out=0.66)).kind == "pass"
    assert judge(replace(NOISY, suspect_share=0.043, ambiguous=0.098, held_out=0.87)).kind == "pass"


def test_a_few_suspects_on_very_clear_classes_pass():
    assert judge(replace(NOISY, suspect_share=0.003, ambiguous=0.0)).kind == "pass"


def test_notes_what_is_less_clear():
    assert judge(replace(NOISY, suspect_share=0.02, ambiguous=0.021)).severity is Severity.NOTE


def test_a_bad_probe_doubts_no_label():
    assert judge(replace(NOISY, held_out=0.3)).kind == "not-run"
    assert judge(replace(NOISY, signals=(replace(SIGNAL, z=3.0),))).kind == "not-run"


def test_numbers_and_masks_are_not_judged():
    assert judge(replace(NOISY, signals=(replace(SIGNAL, kind="values"),))).kind == "not-run"
    assert judge(Labels(reasons={"train": "no loader"})).message == "no loader"


def test_notes_equal_pictures_with_different_labels():
    clean = replace(NOISY, suspect_share=0.0, twins=8, twins_apart=4)
    assert judge(replace(clean, signals=(replace(SIGNAL, pictures=True),))).severity is Severity.NOTE
    assert judge(clean).kind == "pass"
