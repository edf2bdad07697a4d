from __future__ import annotations

from dataclasses import replace

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers, ParameterInfo, Parameters
from trainlint.rule import Verdict
from trainlint_rules.lr_groups import LearningRateGroups

WHERE = Location("train.py", 37)


def group(lr: float, depth: float | None, share: float, decay: float = 0.0) -> GroupInfo:
    return GroupInfo(
        lr=lr, first_lr=lr, weight_decay=decay, parameters=1000, tensors=2, pretrained_share=share, depth=depth, names=("layer.weight",)
    )


def judge(*groups: GroupInfo, ratio: float | None = None) -> Verdict:
    one = ParameterInfo(
        name="body.weight", module="body", module_kind="Linear", shape=(9, 9), size=81, requires_grad=True, update_ratio=ratio
    )
    optimizers = Optimizers(optimizers=(OptimizerInfo(index=0, kind="AdamW", where=WHERE, groups=groups),))
    return LearningRateGroups().judge(optimizers, Parameters(parameters=(one, one)))


def test_warns_of_a_head_slower_than_the_body():
    verdict = judge(group(1e-3, 0.3, 1.0), group(1e-5, 0.9, 0.0))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "100 times slower" in verdict.message
    assert verdict.location == WHERE


def test_warns_of_a_reversed_layer_wise_decay():
    verdict = judge(group(1e-3, 0.1, 1.0), group(7e-4, 0.4, 1.0), group(5e-4, 0.7, 1.0), group(5e-3, 1.0, 0.0))
    assert verdict.kind == "fail"
    assert "grow towards the input" in verdict.message


def test_a_right_layer_wise_decay_passes():
    assert judge(group(3e-5, 0.1, 1.0), group(5e-5, 0.4, 1.0), group(1e-4, 0.7, 1.0), group(1e-3, 1.0, 0.0)).kind == "pass"


def test_the_same_rate_for_body_and_head_is_a_note_while_steps_are_small():
    assert judge(group(1e-5, 0.3, 1.0), group(1e-5, 0.9, 0.0), ratio=2e-4).severity is Severity.NOTE
    assert judge(group(1e-3, 0.3, 1.0), group(1e-3, 0.9, 0.0), ratio=2e-2).severity is Severity.WARNING


def test_an_empty_group_while_the_new_head_is_among_the_slow_ones_is_a_warning():
    empty, body = replace(group(1e-2, None, 0.0), tensors=0, parameters=0), replace(group(2e-5, 0.5, 0.98), fresh=("head.weight",))
    verdict = judge(body, empty)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, WHERE)
    assert "500 times slower" in verdict.message
    line = Location("train.py", 12)
    assert judge(body, replace(empty, where=line)).location == line
    assert judge(body, replace(empty, lr=2e-5)).kind == "pass"
    assert judge(replace(body, fresh=()), empty).kind == "pass"


def test_one_group_for_all_passes():
    assert judge(group(2e-5, 0.5, 0.98)).kind == "pass"


def test_groups_that_differ_in_decay_only_pass():
    assert judge(group(2e-5, 0.5, 0.98, 0.01), group(2e-5, 0.5, 0.99)).kind == "pass"


def test_models_from_scratch_pass():
    assert judge(group(1e-2, 0.1, 0.0), group(1e-3, 0.5, 0.0), group(1e-4, 0.9, 0.0)).kind == "pass"


def test_new_adapters_before_the_end_of_the_body_are_no_head():
    assert judge(group(1e-3, 0.6, 1.0), group(1e-5, 0.4, 0.0)).kind == "pass"


def test_groups_that_the_step_does_not_use_are_left_out():
    assert judge(group(1e-3, 0.3, 1.0), group(1e-5, None, 0.0)).kind == "pass"


def test_a_frozen_body_passes():
    assert judge(group(0.0, 0.3, 1.0), group(1e-3, 0.9, 0.0)).kind == "pass"


def test_a_rate_that_reaches_no_parameter_while_the_new_head_is_among_the_slow_ones_is_a_warning():
    mixed = replace(group(2e-4, 0.5, 0.13), fresh=("trunk.fc.weight",), pretrained=True)
    given = Optimizers(optimizers=(OptimizerInfo(index=0, kind="SGD", groups=(mixed,), unused_lr=0.02),))
    verdict = LearningRateGroups().judge(given, Parameters())
    assert verdict.severity is Severity.WARNING
    assert "0.02 reaches no parameter" in verdict.message
    for other in (replace(mixed, lr=0.01), replace(mixed, fresh=()), replace(mixed, pretrained=False)):
        quiet = Optimizers(optimizers=(OptimizerInfo(index=0, kind="SGD", groups=(other,), unused_lr=0.02),))
        assert LearningRateGroups().judge(quiet, Parameters()).kind == "pass"
