from __future__ import annotations

import pytest

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers, ParameterInfo, Parameters, SchedulerInfo
from trainlint_rules.update_ratio import UpdateRatio

BUILT = Location("train.py", 12)


def weight(ratio: float | None, *, lr: float = 1e-3, kind: str = "Linear", optimizer: int = 0, **facts: object) -> ParameterInfo:
    return ParameterInfo(
        name="layer.weight", module="layer", module_kind=kind, shape=(64, 64), size=4096, requires_grad=True, optimizer=optimizer,
        update_ratio=ratio, lr=lr, **facts,
    )  # fmt: skip


def judge(*weights: ParameterInfo, lr: float = 1e-3, kind: str = "AdamW", preview: tuple[float, ...] = (), pretrained: bool = False):
    optimizer = OptimizerInfo(index=0, kind=kind, where=BUILT, groups=(GroupInfo(lr=lr, first_lr=lr),))
    schedulers = (SchedulerInfo(kind="OneCycleLR", optimizer=0, preview=preview),) if preview else ()
    return UpdateRatio().judge(
        Parameters(parameters=weights, pretrained=pretrained), Optimizers(optimizers=(optimizer,), schedulers=schedulers)
    )


def test_passes_the_usual_ratio():
    assert judge(weight(1e-3), weight(2e-3)).kind == "pass"


def test_warns_when_nothing_moves():
    verdict = judge(weight(2e-7, lr=1e-8), weight(1e-7, lr=1e-8), lr=1e-8)
    assert verdict.severity is Severity.WARNING
    assert verdict.location == BUILT
    assert "times less than usual" in verdict.message


def test_warns_when_each_step_replaces_the_weights():
    verdict = judge(weight(0.5, lr=0.1), weight(0.8, lr=0.1), lr=0.1)
    assert verdict.severity is Severity.WARNING
    assert verdict.fix is not None
    assert "lr=1e-02" in verdict.fix.code, "the first step down is a tenth"


def test_passes_adams_first_steps_on_small_weights():
    assert judge(weight(0.05), weight(0.09)).kind == "pass"


def test_scales_a_warm_up_to_the_rate_it_leads_to():
    assert judge(weight(3e-8, lr=1e-8), weight(2e-8, lr=1e-8), lr=1e-3).kind == "pass"
    assert judge(weight(3e-8, lr=1e-8), lr=1e-8, preview=(1e-8, 1e-3, 1e-5)).kind == "pass"


def test_passes_zero_initialised_branches_under_sgd():
    slow = [weight(5e-8) for _ in range(16)]
    assert judge(*slow, weight(1e-3), weight(2e-3), weight(5e-3), kind="SGD").kind == "pass"


def test_passes_small_updates_before_a_layer_that_starts_at_zero():
    assert judge(weight(1e-9), weight(2e-9), weight(0.5, zero_init=True)).kind == "not-run"


def test_passes_fine_tuning_at_a_small_rate():
    assert judge(weight(5e-6), weight(4e-6), pretrained=True).kind == "pass"
    assert judge(weight(5e-6), weight(4e-6)).kind == "fail"


@pytest.mark.parametrize(
    "exempt",
    [
        weight(1e-9, norm_or_bias=True),
        weight(0.5, weight_norm=64 * 1e-4),
        weight(3.0, zero_init=True),
        weight(1e-9, kind="Embedding"),
        weight(None),
        weight(0.0, lr=0.0),
        weight(0.0, gradient="none"),
    ],
    ids=["norm", "near zero", "zero-initialised", "embedding", "unmeasured", "warm-up at zero", "without gradient"],
)
def test_leaves_out_what_has_no_scale(exempt: ParameterInfo):
    assert judge(exempt, exempt).kind == "not-run"


def test_passes_a_single_convex_layer():
    assert judge(weight(0.4, lr=0.01), lr=0.01).kind == "pass"


def test_does_not_judge_a_line_search():
    assert judge(weight(2.0), weight(2.0), kind="LBFGS").kind == "not-run"
