from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import SoftTargets, TargetCall
from trainlint.rule import Verdict
from trainlint_rules.soft_targets import SoftTargetsRule

LOSS, MIX = Location("train.py", 40), Location("train.py", 12)
HARD = TargetCall(kind="cross_entropy", where=LOSS)


def judge(**facts: object) -> Verdict:
    return SoftTargetsRule().judge(SoftTargets(**{"calls": (HARD,), "inputs_mixed": False, **facts}))


def test_warns_when_soft_targets_are_hardened():
    verdict = judge(hardened_by="argmax", hardened_where=LOSS, hardened_rows=0.9, lost_weight=0.27, inputs_mixed=True)
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "argmax()" in verdict.message
    assert "30%" in verdict.message
    assert verdict.location == LOSS


def test_warns_when_one_label_of_a_blend_is_used():
    verdict = judge(inputs_mixed=True, labels_mixed=False, blend=0.4, mixed_where=MIX)
    assert verdict.kind == "fail"
    assert verdict.location == LOSS
    assert "line 12" in verdict.message


def test_both_losses_of_mixup_pass():
    assert judge(inputs_mixed=True, labels_mixed=True, blend=0.4).kind == "pass"


def test_faint_background_noise_of_other_samples_passes():
    assert judge(inputs_mixed=True, labels_mixed=False, blend=0.02).kind == "pass"


def test_a_loss_that_cannot_be_followed_is_not_blamed():
    assert judge(inputs_mixed=True, labels_mixed=None, blend=0.4).kind == "pass"


def test_warns_of_smoothing_twice():
    verdict = judge(calls=(TargetCall(kind="cross_entropy", where=LOSS, soft=True, label_smoothing=0.1, smoothed_by=0.1, row_sum=1.0),))
    assert "smoothed by 0.1 already" in verdict.message


def test_mixup_with_label_smoothing_in_the_loss_passes():
    assert judge(calls=(TargetCall(kind="cross_entropy", soft=True, label_smoothing=0.1, row_sum=1.0),)).kind == "pass"


def test_warns_of_tags_in_cross_entropy():
    verdict = judge(calls=(TargetCall(kind="cross_entropy", where=LOSS, soft=True, multi_hot=True, row_sum=2.4),))
    assert "2.4 on average" in verdict.message
    assert "binary_cross_entropy_with_logits" in verdict.fix.code


def test_hard_and_soft_targets_as_they_are_pass():
    assert judge().kind == "pass"
    assert judge(calls=(TargetCall(kind="cross_entropy", soft=True, row_sum=1.0),)).kind == "pass"
    assert judge(calls=(), inputs_mixed=None).kind == "pass"


def test_warns_of_weights_that_are_exchanged_and_not_near_a_half():
    verdict = judge(inputs_mixed=True, labels_mixed=True, blend=0.3, own_weight=0.3)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, LOSS)
    assert "its label weighs 30%" in verdict.message
    assert judge(inputs_mixed=True, labels_mixed=True, blend=0.3, own_weight=0.7).kind == "pass"
    assert judge(inputs_mixed=True, labels_mixed=True, blend=0.49, own_weight=0.49).kind == "pass"
