from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, OptimizerInfo, Optimizers, Step
from trainlint_rules.amp import Amp

CLIP, STEP = Location("train.py", 18), Location("train.py", 20)


def step(**facts: object) -> Step:
    return Step(**{"optimizer": 0, "where": STEP, "backwards": 1, "kept": 1, "scaler": True, "clip_where": CLIP, **facts})


def judge(*steps: Step, kind: str = "SGD", scaler: bool = True, events: tuple[Event, ...] = ()):
    optimizers = Optimizers(optimizers=(OptimizerInfo(index=0, kind=kind),))
    return Amp().judge(Loop(steps=steps, gradient_scaler=scaler, events=events), optimizers)


SCALED = step(clipped=91_000.0, clip_max_norm=1.0, clipped_scaled=True)


def test_passes_unscaled_clipping():
    assert judge(*[step(clipped=1.4, clip_max_norm=1.0)] * 3).kind == "pass"


def test_fails_when_scaled_gradients_are_clipped():
    verdict = judge(SCALED, SCALED, SCALED)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CLIP
    assert "91,000" in verdict.message


def test_only_warns_when_adam_divides_the_factor_out_again():
    assert judge(SCALED, SCALED, kind="AdamW").severity is Severity.WARNING


def test_passes_scaled_clipping_that_never_bites():
    assert judge(*[step(clipped=91_000.0, clip_max_norm=1e6, clipped_scaled=True)] * 3).kind == "pass"


def test_fails_when_the_optimizer_steps_around_the_scaler():
    verdict = judge(*[step(scaler=False)] * 3)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == STEP


def test_passes_a_second_optimizer_without_scaler():
    assert judge(step(), step(optimizer=1, scaler=False), step(), step(optimizer=1, scaler=False)).kind == "pass"


def test_passes_unscaling_by_hand():
    assert judge(*[step(scaler=False)] * 3, events=(Event(kind="unscale"),)).kind == "pass"


def test_passes_a_few_skipped_steps_at_the_start():
    assert judge(step(skipped=True), step(skipped=True), step(), step(), step()).kind == "pass"


def test_warns_when_every_step_is_skipped():
    assert judge(*[step(skipped=True)] * 6).severity is Severity.WARNING


def test_does_not_judge_without_a_scaler():
    assert judge(step(scaler=False), scaler=False).kind == "not-run"
    assert judge(scaler=True).kind == "not-run"
