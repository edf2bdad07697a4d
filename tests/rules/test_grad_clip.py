from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, GroupInfo, Loop, OptimizerInfo, Optimizers, ParameterInfo, Parameters, Step
from trainlint_rules.grad_clip import GradClip

CLIP = Location("train.py", 21)


def step(norm: float | None, limit: float = 1.0, **facts: object) -> Step:
    return Step(**{"optimizer": 0, "backwards": 1, "kept": 1, "clipped": norm, "clip_max_norm": limit, "clip_where": CLIP, **facts})


def judge(*steps: Step, kind: str = "SGD", lr: float = 0.1, momentum: float = 0.0, size: int = 10_000, options: dict | None = None):
    group = GroupInfo(lr=lr, first_lr=lr, momentum=momentum)
    weight = ParameterInfo(
        name="w", module="", module_kind="Linear", shape=(size,), size=size, requires_grad=True, optimizer=0, weight_norm=10.0
    )
    optimizer = OptimizerInfo(index=0, kind=kind, groups=(group,), options=options or {})
    return GradClip().judge(Loop(steps=steps), Optimizers(optimizers=(optimizer,)), Parameters(parameters=(weight,)))


def test_passes_clipping_a_norm_of_ten_to_one_at_every_step():
    verdict = judge(step(10.0), step(12.0), step(9.0))
    assert verdict.kind == "pass"
    assert "3 of 3" in verdict.message


def test_fails_when_sgd_steps_are_lost_in_rounding():
    verdict = judge(*[step(2.0, 1e-6)] * 4)
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CLIP
    assert verdict.fix is not None
    assert "max_norm=2" in verdict.fix.code


def test_warns_when_sgd_steps_are_clearly_too_small():
    assert judge(*[step(5.0, 5e-4)] * 4).severity is Severity.WARNING


def test_the_median_step_counts():
    assert judge(step(0.04, 5e-4), step(5.0, 5e-4), step(5.0, 5e-4)).severity is Severity.WARNING
    assert judge(step(4e-4, 5e-4), step(5.0, 5e-4), step(5.0, 5e-4)).kind == "pass"


def test_passes_normalised_steps_of_a_sum_reduced_loss():
    assert judge(*[step(5000.0)] * 4).kind == "pass"


def test_passes_a_large_rate_made_for_a_small_threshold():
    assert judge(*[step(40.0, 0.25)] * 4, lr=20.0).kind == "pass"


def test_passes_adam_which_divides_the_factor_out():
    assert judge(*[step(3000.0)] * 4, kind="AdamW").kind == "pass"


def test_fails_when_adams_gradient_falls_below_epsilon():
    verdict = judge(*[step(2.0, 1e-9)] * 4, kind="Adam")
    assert verdict.severity is Severity.ERROR
    assert judge(*[step(2.0, 1e-7)] * 4, kind="Adam").severity is Severity.WARNING
    assert judge(*[step(2.0, 1e-7)] * 4, kind="Adam", options={"eps": 1e-15}).kind == "pass"


def test_passes_when_only_some_steps_are_cut_down():
    assert judge(step(2.0, 1e-6), step(1e-7, 1e-6), step(2.0, 1e-6)).kind == "pass"


def test_passes_a_threshold_that_never_bites():
    assert judge(*[step(0.5, 100.0)] * 3).kind == "pass"


def test_leaves_clipping_after_the_step_to_the_loop_order():
    assert judge(*[step(2.0, 1e-6, clip_after_step=True)] * 3).kind == "pass"


def clips(*infos: dict[str, object]):
    events = tuple(Event(kind="clip", where=CLIP, info={"max_norm": 0.25} | info) for info in infos)
    return GradClip().judge(Loop(steps=(step(None),) * 3, events=events), Optimizers(), Parameters())


def test_warns_of_an_iterator_that_was_used_up():
    verdict = clips({"tensors": 4}, {"tensors": 0, "idle": True, "used_up": True}, {"tensors": 0, "idle": True, "used_up": True})
    assert (verdict.kind, verdict.severity, verdict.location) == ("fail", Severity.WARNING, CLIP)
    assert "no tensors at 2 of 3 recorded calls" in verdict.message


def test_warns_of_clipping_another_model():
    other = {"tensors": 4, "idle": True, "used_up": False}
    assert "4 tensors that have no gradients" in clips(other, other, other).message
    assert "is handed no tensors, at all 3" in clips(*[other | {"tensors": 0}] * 3).message
    assert clips(other, other).kind == "not-run"
    assert clips(other, other, other, {"tensors": 2, "idle": False, "used_up": False}).kind == "not-run"


def test_does_not_judge_without_clipping():
    assert judge(step(None)).kind == "not-run"


def left_out(*sizes: float, clips: int = 0):
    calls = [Event(kind="clip-left-out", where=CLIP, info={"max_norm": 0.5, "norm": size, "by_norm": True}) for size in sizes]
    events = (*calls, *[Event(kind="clip", where=CLIP, info={"max_norm": 0.5})] * clips)
    return GradClip().judge(Loop(events=events, steps=(step(None),)), Optimizers(), Parameters())


def test_warns_when_the_module_replaces_the_trainers_clipping_by_none():
    verdict = left_out(0.3, 4.0, 2.0)
    assert verdict.severity is Severity.WARNING
    assert verdict.location == CLIP
    assert "above 0.5 at 2 of 3 recorded steps, at most 4" in verdict.message


def test_is_silent_about_gradients_below_the_limit_two_calls_or_clipping_elsewhere():
    assert [left_out(0.3, 0.2, 0.1).kind, left_out(3.0, 2.0).kind, left_out(3.0, 4.0, 5.0, clips=1).kind] == ["not-run"] * 3
