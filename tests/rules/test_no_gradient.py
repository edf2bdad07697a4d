from __future__ import annotations

from dataclasses import replace

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import BrokenRecurrence, GraphCut, Loop, ParameterInfo, Parameters, Step
from trainlint_rules.no_gradient import NoGradient

CUT = Location("net.py", 17)
LOOP = Loop(optimizers=1, stepped_optimizers=1, steps=(Step(optimizer=0, backwards=1, kept=1),) * 3)


def parameter(
    name: str, gradient: str = "finite", *, optimizer: int | None = 0, size: int = 1000, used: bool = True, norms: tuple[float, ...] = ()
) -> ParameterInfo:
    return ParameterInfo(
        name=name, module=name.rpartition(".")[0], module_kind="Linear", shape=(size // 10, 10), size=size, requires_grad=True,
        optimizer=optimizer, used=used, gradient=gradient, gradient_norms=norms,
    )  # fmt: skip


def judge(*parameters: ParameterInfo, loop: Loop = LOOP, **facts: object):
    return NoGradient().judge(Parameters(parameters=parameters, model="Net", model_where=Location("train.py", 3), **facts), loop)


def cut(kind: str, *names: str) -> GraphCut:
    return GraphCut(kind=kind, where=CUT, parameters=names)


def test_passes_when_every_parameter_gets_a_gradient():
    assert judge(parameter("a.weight"), parameter("b.weight")).kind == "pass"


@pytest.mark.parametrize("kind", ["detach", "no_grad", "argmax", "item", "numpy", "new tensor", "integer cast"])
def test_fails_behind_a_cut(kind: str):
    verdict = judge(parameter("encoder.weight", "none"), parameter("head.weight"), cuts=(cut(kind, "encoder.weight"),))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CUT
    assert verdict.evidence["share"] == 0.5


def test_fails_when_the_loss_has_no_graph():
    verdict = judge(parameter("a.weight", "none"), loss_has_graph=False, cuts=(cut("numpy", "a.weight"),))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CUT
    assert "numpy" in verdict.message


def test_names_the_line_that_switched_gradients_off():
    off = Location("train.py", 2)
    verdict = judge(parameter("a.weight", "none"), loss_has_graph=False, grad_globally_off=off)
    assert verdict.location == off


def test_only_warns_when_a_loaded_body_runs_under_no_grad():
    verdict = judge(parameter("body.weight", "none"), parameter("head.weight"), cuts=(cut("no_grad", "body.weight"),), pretrained=True)
    assert verdict.severity is Severity.WARNING


def test_warns_of_a_large_part_without_gradient_and_without_a_cut():
    assert judge(parameter("a.weight", "none"), parameter("b.weight")).severity is Severity.WARNING


def test_notes_a_large_part_that_the_forward_never_calls():
    assert judge(parameter("expert.weight", "none", used=False), parameter("b.weight")).severity is Severity.NOTE


def test_passes_a_small_unused_pooler():
    assert judge(parameter("pooler.weight", "none", size=500), parameter("body.weight", size=100_000)).kind == "pass"


def test_passes_exactly_zero_gradients_of_zero_initialised_branches():
    assert judge(parameter("conv1.weight", "zero"), parameter("conv2.weight", "zero"), parameter("head.weight")).kind == "pass"


def test_passes_a_generator_that_gets_its_gradient_in_a_later_backward():
    verdict = judge(parameter("g.weight", "none", norms=(0.0, 0.3)), parameter("d.weight"), cuts=(cut("detach", "g.weight"),))
    assert verdict.kind == "pass"


def test_passes_a_network_that_no_optimizer_holds():
    assert (
        judge(parameter("target.weight", "none", optimizer=None), parameter("online.weight"), cuts=(cut("no_grad", "target.weight"),)).kind
        == "pass"
    )


def test_leaves_a_wholly_frozen_model_to_frozen_params():
    frozen = replace(parameter("a.weight", "none"), requires_grad=False)
    assert judge(frozen, loss_has_graph=False).kind == "not-run"


def test_passes_an_optimizer_that_has_not_stepped_yet():
    assert judge(parameter("g.weight", "none", optimizer=1), parameter("d.weight")).kind == "pass"


def test_warns_when_only_the_last_step_of_a_bidirectional_layer_is_read():
    learning = [parameter(f"lstm.weight_{kind}", norms=(0.3, 0.2)) for kind in ("ih_l0", "hh_l0", "ih_l0_reverse")]
    verdict = judge(*learning, parameter("lstm.weight_hh_l0_reverse", "zero", norms=(0.0, 0.0)))
    assert verdict.severity is Severity.WARNING
    assert "lstm.weight_hh_l0_reverse has a gradient of exactly zero" in verdict.message
    still = [replace(p, gradient="zero", gradient_norms=(0.0,)) for p in learning[:2]]  # sequences of one step: no recurrence at all
    assert judge(*still, learning[2], parameter("lstm.weight_hh_l0_reverse", "zero", norms=(0.0,))).kind == "pass"
    assert judge(*learning, parameter("lstm.weight_hh_l0_reverse", norms=(0.1, 0.1))).kind == "pass"


def test_names_the_line_that_forces_requires_grad():
    line = Location("train.py", 40)
    verdict = judge(parameter("a.weight", "none"), loss_has_graph=False, forced_where=line)
    assert (verdict.severity, verdict.location) == (Severity.ERROR, line)
    assert "requires_grad is set here" in verdict.message


def test_a_tensor_made_of_numbers_is_named_before_the_numbers_and_before_a_validation_without_gradients():
    line, validation = Location("train.py", 40), Location("train.py", 60)
    verdict = judge(
        parameter("a.weight", "none"), loss_has_graph=False, forced_where=line, no_grad_calls=(validation,), cuts=(cut("item", "a.weight"),)
    )
    assert verdict.location == line
    verdict = judge(parameter("a.weight", "none"), loss_has_graph=False, no_grad_calls=(validation,), cuts=(cut("item", "a.weight"),))
    assert verdict.location == CUT


def test_warns_of_weights_behind_a_softmax_over_one_entry():
    verdict = judge(parameter("score.weight", norms=(0.0, 0.0)), parameter("head.weight"), constant=cut("softmax", "score.weight"))
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, CUT)
    assert "over an axis with one entry" in verdict.message


def test_passes_a_teacher_that_makes_targets_without_gradients():
    facts = {"pretrained": True, "cuts": (cut("no_grad", "teacher.weight"),)}
    assert judge(parameter("teacher.weight", "none"), parameter("student.weight"), **facts).kind == "fail"
    assert judge(parameter("teacher.weight", "none"), parameter("student.weight"), teachers=("teacher.weight",), **facts).kind == "pass"


@pytest.mark.parametrize(("reached", "lines", "words"), [(1, (17,), "only the last step"), (8, (), "each step teaches it alone")])
def test_warns_of_a_state_that_is_detached_at_each_step(reached: int, lines: tuple[int, ...], words: str):
    broken = BrokenRecurrence(kind="detach", layer="lstm_cell", steps=8, reached=reached, lines=lines, where=CUT)
    verdict = judge(parameter("cell.weight_hh"), recurrence=broken)
    assert (verdict.severity, verdict.location) == (Severity.WARNING, CUT)
    assert words in verdict.message
    assert verdict.fix is not None
    assert (verdict.fix.edit is not None) is bool(lines)


def test_warns_of_a_latent_that_is_drawn_without_a_gradient():
    verdict = judge(parameter("encoder.weight"), sampled=cut("sample", "encoder.weight"))
    assert verdict.severity is Severity.WARNING
    assert verdict.location == CUT
    assert "1 parameters that make its distribution (encoder.weight first)" in verdict.message
    assert verdict.fix is not None
    assert "rsample" in verdict.fix.code
