from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import MovingTargets, ParameterInfo, Parameters, SharedRows
from trainlint_rules.frozen_params import FrozenParams

FREEZE = Location("train.py", 8)


def parameter(
    name: str, *, trainable: bool = True, kind: str = "Linear", shape: tuple[int, ...] = (64, 64), **facts: object
) -> ParameterInfo:
    size = 1
    for side in shape:
        size *= side
    values = {"optimizer": 0, "module": name.rpartition(".")[0], "norm_or_bias": len(shape) < 2, **facts}
    return ParameterInfo(name=name, module_kind=kind, shape=shape, size=size, requires_grad=trainable, **values)


def judge(*parameters: ParameterInfo, **facts: object):
    return FrozenParams().judge(Parameters(parameters=parameters, model="Net", frozen_where=FREEZE, **facts))


def test_passes_when_everything_is_trainable():
    assert judge(parameter("a.weight"), parameter("a.bias", shape=(64,))).kind == "pass"


def test_fails_when_everything_is_frozen():
    verdict = judge(parameter("a.weight", trainable=False), parameter("b.weight", trainable=False), pretrained=True)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == FREEZE


def test_passes_an_image_that_is_trained_through_a_frozen_network():
    frozen = parameter("0.weight", trainable=False, optimizer=None)
    assert judge(frozen, loose=1).kind == "pass"
    assert judge(frozen, foreign=1).severity is Severity.ERROR


def test_warns_of_frozen_random_weights():
    verdict = judge(parameter("features.0.weight", trainable=False, kind="Conv2d"), parameter("head.weight"))
    assert verdict.severity is Severity.WARNING
    assert verdict.evidence["measured"] == 0.5
    assert "the optimizer holds them" in verdict.message
    assert verdict.fix is not None
    assert verdict.fix.code == "model.features.requires_grad_(True)"


def test_passes_a_frozen_backbone_with_loaded_weights():
    verdict = judge(parameter("features.0.weight", trainable=False), parameter("head.weight", shape=(10, 64)), pretrained=True)
    assert verdict.kind == "pass"


def test_warns_when_the_frozen_backbones_batchnorm_moves():
    verdict = judge(
        parameter("features.0.weight", trainable=False), parameter("head.weight"), pretrained=True, batchnorm_moving_while_frozen=20
    )
    assert verdict.severity is Severity.WARNING
    assert "20 BatchNorm" in verdict.message


def test_passes_moving_batchnorm_in_a_momentum_copy():
    target = parameter("target.0.weight", trainable=False, optimizer=None)
    assert judge(parameter("online.0.weight"), target, batchnorm_moving_while_frozen=1).kind == "pass"


def test_passes_frozen_embeddings_and_position_tables():
    verdict = judge(
        parameter("embedding.weight", trainable=False, kind="Embedding", shape=(9000, 64)),
        parameter("position", trainable=False, kind="Encoder", shape=(1, 64, 64)),
        parameter("head.weight"),
    )
    assert verdict.kind == "pass"


def test_passes_a_momentum_copy_of_a_trained_network():
    verdict = judge(
        parameter("online.0.weight"),
        parameter("online.2.weight", shape=(32, 64)),
        parameter("target.0.weight", trainable=False, optimizer=None),
        parameter("target.2.weight", trainable=False, optimizer=None, shape=(32, 64)),
    )
    assert verdict.kind == "pass"


def test_passes_a_discriminator_that_is_frozen_only_while_the_generator_steps():
    verdict = judge(parameter("g.0.weight"), parameter("d.0.weight", trainable=False, optimizer=1, gradient_norms=(0.0, 0.4)))
    assert verdict.kind == "pass"


def test_passes_a_small_fixed_filter():
    assert judge(parameter("blur.weight", trainable=False, kind="Conv2d", shape=(3, 1, 3, 3)), parameter("head.weight")).kind == "pass"


def test_does_not_judge_a_run_without_parameters():
    assert judge().kind == "not-run"


def test_errs_when_a_checkpoint_matched_no_name():
    load = Location("train.py", 5)
    verdict = judge(
        parameter("a.weight", trainable=False), parameter("b.weight"), void_load_where=load, void_load_names=("module.a.weight", "a.weight")
    )
    assert (verdict.severity, verdict.location) == (Severity.ERROR, load)
    assert "'module.a.weight'" in verdict.message
    assert "1 of 2 parameters" in verdict.message


def test_warns_of_a_teacher_that_is_trained_along():
    line = Location("distil.py", 12)
    moving = MovingTargets(loss="kl_div", parameters=("teacher.weight", "teacher.bias"), where=line)
    verdict = judge(parameter("teacher.weight"), parameter("student.weight"), pretrained=True, moving_targets=moving)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, line)
    assert "made by a network with learned weights (teacher.weight, teacher.bias)" in verdict.message


def test_warns_of_new_words_in_a_frozen_embedding():
    table = parameter("table.weight", trainable=False, kind="Embedding")
    line = Location("train.py", 5, "nn.Embedding.from_pretrained(vectors)")
    verdict = judge(table, parameter("head.weight"), shared_rows=SharedRows(name="table.weight", words=10, used=40, where=line))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, line)
    assert "10 of the 40 words" in verdict.message
    assert verdict.fix.edit.kind == "learn-table"


def test_passes_a_frozen_embedding_that_lacks_few_words():
    table = parameter("table.weight", trainable=False, kind="Embedding")
    assert judge(table, parameter("head.weight"), shared_rows=SharedRows(name="table.weight", words=5, used=90)).kind == "pass"


def test_passes_a_teacher_whose_student_has_one_fixed_gain_too():
    gains = [parameter(f"{side}.last.weight_g", trainable=False, optimizer=None, shape=(64, 1)) for side in ("student", "teacher")]
    student = parameter("student.head.0.weight")
    teacher = parameter("teacher.head.0.weight", trainable=False, optimizer=None)
    assert judge(student, teacher, *gains).kind == "pass"
    lone = parameter("extra.0.weight", trainable=False, optimizer=None)
    verdict = judge(student, teacher, lone)
    assert verdict.severity is Severity.WARNING
    assert "1 of 3" in verdict.message
