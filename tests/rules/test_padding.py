from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import LeftOut, LostEnds, SharedToken
from trainlint.measurements import Padding as Facts
from trainlint.rule import Verdict
from trainlint_rules.padding import Padding

LOSS, READER = Location("train.py", 40), Location("model.py", 12)
PLACE, LOSS = Location("train.py", 3), Location("train.py", 9)


def judge(**facts: object) -> Verdict:
    found = {"found": True, "path": "[0]", "share": 0.4, "loss_where": LOSS, "loss": "cross_entropy", "scored": 1000}
    return Padding().judge(Facts(**{**found, **facts}))


def test_passes_batches_without_padding():
    verdict = Padding().judge(Facts())
    assert verdict.kind == "pass"
    assert verdict.message.startswith("The recorded batch holds no padding")


def test_errs_when_most_of_what_is_scored_is_padding():
    verdict = judge(counted=0.73, value=0.0)
    assert (verdict.severity, verdict.location) == (Severity.ERROR, LOSS)
    assert "73% of the 1,000 positions" in verdict.message
    assert "ignore_index=0" in verdict.fix.code


@pytest.mark.parametrize(("counted", "loss"), [(0.2, "cross_entropy"), (0.8, "mse_loss"), (0.8, "")])
def test_warns_of_less_and_of_other_losses(counted: float, loss: str):
    assert judge(counted=counted, loss=loss).severity is Severity.WARNING


def test_labels_are_masked_where_the_batch_holds_a_mask():
    assert "-100" in judge(counted=0.6, masked=True, value=50256.0).fix.code


@pytest.mark.parametrize("reader", ["recurrent", "attention", "pooling", "position"])
def test_warns_of_padding_that_is_read(reader: str):
    verdict = judge(influence=0.7, reader=reader, operation="some_op", reader_where=READER)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, READER)
    assert "0.7 times" in verdict.message


def test_notes_little_influence_and_little_padding():
    assert judge(influence=0.02, reader="recurrent", operation="lstm").severity is Severity.NOTE
    assert judge(influence=0.2, reader="recurrent", operation="gru").severity is Severity.NOTE  # bidirectional, masked afterwards
    assert judge(influence=3.0, reader="recurrent", operation="lstm", share=0.05).severity is Severity.NOTE


@pytest.mark.parametrize(
    "facts",
    [
        {"counted": 0.0, "influence": 0.0},
        {"counted": 0.03, "influence": 0.0},  # a first padding token that serves as end mark
        {"influence": 0.6, "reader": "convolution", "operation": "conv1d"},
        {"influence": 0.6, "reader": "other", "operation": "sum"},
        {},  # neither could be measured
    ],
)
def test_passes_what_is_masked_or_usual(facts: dict[str, object]):
    assert judge(**facts).kind == "pass"


def test_warns_of_a_mask_that_the_batch_holds_and_the_model_never_gets():
    facts = {"influence": 0.003, "reader": "attention", "operation": "scaled_dot_product_attention", "reader_where": READER, "masked": True}
    verdict = judge(**facts, unused_mask="['attention_mask']")
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, READER)
    assert "never reaches the model" in verdict.message
    assert judge(**facts).kind == "pass"
    assert judge(**{**facts, "influence": 0.0}, unused_mask="['attention_mask']").kind == "pass"


def test_warns_of_a_class_that_is_left_out_as_padding():
    lost = LeftOut(index=0, classes=5, share=0.6, positions=400, padding=True, where=LOSS)
    verdict = judge(left_out=lost, counted=0.0, influence=0.02, reader="recurrent", operation="lstm", reader_where=READER)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, LOSS)
    assert "ignores class 0 of 5: 60% of 400 tokens" in verdict.message
    assert "padding_value=-100" in verdict.fix.code


@pytest.mark.parametrize(
    ("share", "padding", "pictures", "severity"),
    [(0.3, True, False, Severity.NOTE), (0.05, True, False, None), (0.8, False, True, Severity.NOTE), (0.3, True, True, None)],
)
def test_says_less_of_a_class_that_may_be_left_out_on_purpose(share, padding, pictures, severity):
    verdict = Padding().judge(Facts(left_out=LeftOut(index=0, classes=5, share=share, positions=400, padding=padding, pictures=pictures)))
    assert (verdict.severity if verdict.kind == "fail" else None) is severity


@pytest.mark.parametrize(("set_where", "pretrained", "edited"), [(PLACE, False, True), (PLACE, True, False), (None, False, False)])
def test_warns_of_ends_that_are_ignored_as_padding(set_where: Location | None, pretrained: bool, edited: bool):
    lost = LostEnds(token=2, sequences=15, of=16, pretrained=pretrained, set_where=set_where, where=LOSS)
    verdict = judge(value=2.0, share=0.3, masked=True, counted=0.0, lost_ends=lost)
    assert verdict.severity is Severity.WARNING
    assert "15 of 16 sequences end with token 2" in verdict.message
    assert verdict.location == (set_where or LOSS)
    assert verdict.fix is not None
    assert (verdict.fix.edit is not None) is edited


def test_a_class_that_also_fills_up_is_not_ignored():
    verdict = judge(counted=0.3, value=0.0, fill=0, real=0.56, target="[1]")
    assert verdict.fix is not None
    assert "also the class of 56.0% of the real positions" in verdict.message
    assert "padding_value=-100" in verdict.fix.code
    assert "ignore_index=0" not in verdict.fix.code
    assert verdict.fix.edit is not None
    assert (verdict.fix.edit.kind, verdict.fix.edit.values["path"]) == ("fill-targets", "[1]")
    unknown = judge(counted=0.3, value=0.0, fill=0, real=0.56).fix
    assert unknown is not None
    assert unknown.edit is None


def test_the_index_to_ignore_is_what_fills_targets_up():
    fix = judge(counted=0.6, value=0.0, fill=7, real=0.0).fix
    assert fix is not None
    assert "ignore_index=7" in fix.code


def test_warns_of_a_filler_that_is_a_token_of_the_samples_too():
    place = Location("train.py", 50)
    verdict = Padding().judge(Facts(shared_token=SharedToken(path="[0]", token=0, share=0.28, where=place)))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, place)
    assert "28%" in verdict.message
    assert Padding().judge(Facts(shared_token=SharedToken(path="[0]", token=0, share=0.03))).kind == "pass"
