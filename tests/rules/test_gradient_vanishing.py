from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import ParameterInfo, Parameters
from trainlint_rules.gradient_vanishing import GradientVanishing

BUILT = Location("train.py", 9)


def weight(name: str, *rms: float, kind: str = "Linear", optimizer: int | None = 0, zero_init: bool = False) -> ParameterInfo:
    norms = tuple(value * 10.0 for value in rms)
    return ParameterInfo(
        name=f"{name}.weight", module=name, module_kind=kind, shape=(10, 10), size=100, requires_grad=True, optimizer=optimizer,
        gradient="finite" if any(rms) else "zero", gradient_norm=norms[0], gradient_norms=norms, zero_init=zero_init,
    )  # fmt: skip


def judge(*parameters: ParameterInfo, norms: tuple[float, ...] = (1.0, 1.0, 1.0), **facts: object):
    return GradientVanishing().judge(Parameters(parameters=parameters, total_norms=norms, model_where=BUILT, **facts))


def chain(*rms: float) -> list[ParameterInfo]:
    return [weight(f"layers.{i}", value) for i, value in enumerate(rms)]


def test_passes_when_gradients_are_of_one_order():
    assert judge(*chain(2e-3, 1e-3, 1e-3, 5e-3)).kind == "pass"


def test_warns_when_the_first_layers_hardly_learn():
    verdict = judge(*chain(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1))
    assert verdict.severity is Severity.WARNING
    assert verdict.location == BUILT


def test_fails_when_the_first_layers_gradients_are_below_any_epsilon():
    verdict = judge(*chain(1e-12, 1e-11, 1e-9, 1e-7, 1e-4, 1e-2))
    assert verdict.severity is Severity.ERROR
    assert verdict.evidence["first"] < 1e-8


def test_fails_when_every_gradient_is_zero():
    verdict = judge(*chain(0.0, 0.0, 0.0), norms=(0.0, 0.0))
    assert verdict.severity is Severity.ERROR


def test_counts_underflow_to_zero_as_vanished():
    assert judge(*chain(0.0, 0.0, 1e-30, 1e-9, 1e-4, 1e-2)).kind == "fail"


def test_passes_zero_initialised_residual_branches():
    branch = [weight("conv1", 0.0, 1e-6, 2e-6), weight("conv2", 0.0, 1e-6, 2e-6)]
    norm = ParameterInfo(
        name="bn2.weight", module="bn2", module_kind="BatchNorm2d", shape=(10,), size=10, requires_grad=True, norm_or_bias=True,
        zero_init=True, optimizer=0,
    )  # fmt: skip
    assert judge(weight("stem", 1e-2), *branch, norm, *branch, norm, weight("fc", 1e-2)).kind == "pass"


def test_passes_layer_scale_with_a_healthy_stem():
    tiny = [weight(f"blocks.{i}.mlp", 1e-9) for i in range(6)]
    assert judge(weight("stem", 1e-3), *tiny, weight("head", 1e-2)).kind == "pass"


def test_does_not_judge_a_zero_initialised_head_during_warm_up():
    verdict = judge(*chain(0.0, 0.0, 0.0), weight("head", 1e-2, zero_init=True))
    assert verdict.kind == "not-run"


def test_takes_the_largest_gradient_of_the_steps():
    assert judge(weight("a", 0.0, 1e-3), weight("b", 0.0, 1e-3), weight("head", 1e-2, 1e-2)).kind == "pass"


def test_leaves_out_embeddings():
    assert judge(weight("tokens", 1e-9, kind="Embedding"), *chain(1e-3, 1e-3, 1e-3)).kind == "pass"


def test_judges_each_optimizers_network_by_itself():
    critic = [weight(f"d.{i}", 1e-6, optimizer=1) for i in range(3)]
    assert judge(*chain(1e-2, 1e-2, 1e-2), *critic).kind == "pass"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_does_not_judge_shallow_networks(count: int):
    assert judge(*chain(*[1e-3] * count)).kind == "not-run"


def test_passes_a_branch_before_a_layer_that_starts_at_zero():
    """A spatial transformer's localisation begins with the identity: little comes back until its last layer has grown."""
    branch = [weight("localization.0", 0.0, 1e-6), weight("localization.3", 0.0, 1e-6), weight("fc_loc.0", 0.0, 2e-6)]
    rest = [weight(name, 1e-2, 1e-2) for name in ("conv1", "conv2", "fc1", "fc2")]
    assert judge(*branch, weight("fc_loc.2", 5e-3, 5e-3, zero_init=True), *rest).kind == "pass"
    assert judge(*branch, weight("fc_loc.2", 5e-3, 5e-3), *rest).kind == "fail"
