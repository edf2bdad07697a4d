from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Loop, ParameterInfo, Parameters, RebuiltLayer, Step, UnregisteredModule
from trainlint_rules.params_not_optimized import ParamsNotOptimized

BUILT = Location("train.py", 20)
STEPS = (Step(optimizer=0, backwards=1, kept=1), Step(optimizer=0, backwards=1, kept=1))
EMPTY = (Step(optimizer=0, without_gradient=True), Step(optimizer=0, without_gradient=True))


def parameter(name: str, optimizer: int | None = 0, *, norm: float = 0.1, bias: bool = False, trainable: bool = True) -> ParameterInfo:
    return ParameterInfo(
        name=name, module=name.rpartition(".")[0], module_kind="Linear", shape=(8,) if bias else (8, 8), size=8 if bias else 64,
        requires_grad=trainable, optimizer=optimizer, gradient="finite" if norm else "none", gradient_norm=norm, norm_or_bias=bias,
    )  # fmt: skip


def judge(*parameters: ParameterInfo, loop: Loop | None = None, **facts: object):
    measured = Parameters(parameters=parameters, model="Net", optimizer_where=(BUILT,), **facts)
    return ParamsNotOptimized().judge(measured, loop or Loop(optimizers=1, steps=STEPS))


def test_passes_when_the_optimizer_holds_everything():
    assert judge(parameter("body.weight"), parameter("head.weight")).kind == "pass"


def test_fails_when_a_layer_is_left_out():
    verdict = judge(parameter("body.weight"), parameter("head.weight", None))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == BUILT
    assert "head.weight" in verdict.message


def test_fails_when_the_head_was_replaced_after_the_optimizer_was_built():
    verdict = judge(parameter("body.weight"), parameter("head.weight", None), foreign=2, pretrained=True)
    assert verdict.severity is Severity.ERROR
    assert "not in use" in verdict.message


def test_fails_when_the_optimizer_belongs_to_another_model():
    verdict = judge(parameter("body.weight", None), parameter("head.weight", None), foreign=4, loop=Loop(optimizers=1, steps=EMPTY))
    assert verdict.severity is Severity.ERROR
    assert verdict.evidence["foreign"] == 4


def test_fails_on_layers_in_a_plain_list():
    hidden = UnregisteredModule(owner="Net.blocks", kind="list of Linear", parameters=4160, where=Location("net.py", 5))
    verdict = judge(parameter("head.weight"), unregistered=(hidden,))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == Location("net.py", 5)
    assert verdict.fix is not None
    assert verdict.fix.code == "self.blocks = nn.ModuleList(blocks)"


def test_only_warns_of_a_list_that_may_hide_a_teacher():
    hidden = UnregisteredModule(owner="Student.teacher", kind="list of ResNet", parameters=11_000_000)
    assert judge(parameter("head.weight"), unregistered=(hidden,), pretrained=True).severity is Severity.WARNING


def test_only_warns_when_a_loaded_body_is_left_out():
    verdict = judge(parameter("body.weight", None), parameter("head.weight"), pretrained=True)
    assert verdict.severity is Severity.WARNING
    assert "requires_grad = False" in verdict.fix.code


def test_only_warns_when_biases_are_left_out():
    assert judge(parameter("body.weight"), parameter("body.bias", None, bias=True)).severity is Severity.WARNING


def test_passes_target_networks_that_receive_no_gradient():
    assert judge(parameter("online.weight"), parameter("target.weight", None, norm=0.0)).kind == "pass"


def test_passes_several_models_with_an_optimizer_each():
    loop = Loop(optimizers=2, stepped_optimizers=2, steps=STEPS)
    verdict = judge(parameter("Generator.0.weight", 1), parameter("Discriminator.0.weight", 0), loop=loop)
    assert verdict.kind == "pass"


def test_passes_style_transfer_that_optimises_the_picture():
    assert judge(parameter("features.0.weight", None), parameter("features.2.weight", None)).kind == "pass"


def test_does_not_judge_updates_by_hand():
    verdict = judge(parameter("body.weight", None), loop=Loop(optimizers=0, manual_updates=True))
    assert verdict.kind == "not-run"


def test_does_not_judge_without_gradients():
    assert judge(parameter("body.weight", None, norm=0.0)).kind == "not-run"


def test_fails_when_a_forward_builds_a_layer():
    line = Location("net.py", 9, text="return nn.Linear(8, 8)(x)")
    verdict = judge(parameter("body.weight"), rebuilt=(RebuiltLayer(kind="Linear", owner="Net", weights=64, where=line),))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, line)
    assert "The forward of Net builds its Linear anew each time it runs, with 64 new random weights" in verdict.message
    norm = RebuiltLayer(kind="LayerNorm", owner="Net", where=line)
    assert judge(parameter("body.weight"), rebuilt=(norm,)).severity is Severity.WARNING


def test_warns_of_layers_that_the_loop_unfreezes_without_an_optimizer():
    line = Location("train.py", 40)
    frozen = parameter("body.weight", None, norm=0.0, trainable=False)
    verdict = judge(parameter("head.weight"), frozen, unfrozen_where=line, waiting=("body.weight",))
    assert (verdict.severity, verdict.location) == (Severity.WARNING, line)
    assert "the optimizer of line 20 holds none of these 1 parameters (body.weight)" in verdict.message
    assert judge(parameter("head.weight"), frozen, waiting=("body.weight",)).kind == "pass"
