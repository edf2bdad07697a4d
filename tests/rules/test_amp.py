from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, GroupInfo, Loop, OptimizerInfo, Optimizers, ParameterInfo, Parameters, Step
from trainlint_rules.amp import Amp

CLIP, STEP = Location("train.py", 18), Location("train.py", 20)


def step(**facts: object) -> Step:
    return Step(**{"optimizer": 0, "where": STEP, "backwards": 1, "kept": 1, "scaler": True, "clip_where": CLIP, **facts})


def judge(*steps: Step, kind: str = "SGD", scaler: bool = True, events: tuple[Event, ...] = ()):
    optimizers = Optimizers(optimizers=(OptimizerInfo(index=0, kind=kind),))
    return Amp().judge(Loop(steps=steps, gradient_scaler=scaler, events=events), optimizers, Parameters())


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


def rounded(unmoved: float | None, *, lr: float = 1e-4, full: float = 1e-4):
    weight = ParameterInfo(
        name="body.weight",
        module="body",
        module_kind="Linear",
        shape=(8, 8),
        size=64,
        requires_grad=True,
        optimizer=0,
        lr=lr,
        unmoved=unmoved,
    )
    optimizers = Optimizers(optimizers=(OptimizerInfo(index=0, kind="AdamW", groups=(GroupInfo(lr=full, first_lr=lr),)),))
    return Amp().judge(Loop(), optimizers, Parameters(parameters=(weight,), cast_where=CLIP))


def test_warns_when_steps_on_weights_of_16_bits_are_rounded_away():
    verdict = rounded(0.7)
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, CLIP)
    assert "leaves 70% of those with a gradient as they were" in verdict.message


def test_weights_that_mostly_move_or_warm_up_are_not_rounded_away():
    assert rounded(0.3).kind == rounded(None).kind == rounded(0.9, lr=1e-6).kind == "not-run"


def test_steps_of_a_warm_up_tell_how_many_weights_the_full_rate_will_move():
    """At a fifth of the rate 8 % of the weights move, so at the full rate 40 % do, at most."""
    assert "leaves 60%" in rounded(0.92, lr=2e-5).message
    assert rounded(0.88, lr=2e-5).kind == "not-run"
