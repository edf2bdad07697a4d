from __future__ import annotations

from trainlint.details import Timeline
from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, Step
from trainlint_rules.loop_order import LoopOrder

CLEAR, STEP, BACKWARD, CLIP = (Location("train.py", line) for line in (10, 20, 15, 18))
WHERE = {"clear": CLEAR, "step": STEP, "backward": BACKWARD, "clip": CLIP}
GOOD = Step(optimizer=0, where=STEP, backwards=1, kept=1)
EMPTY = Step(optimizer=0, where=STEP, without_gradient=True)


def events(*kinds: str, times: int = 4) -> tuple[Event, ...]:
    return tuple(Event(kind=kind, index=i, phase="train", where=WHERE.get(kind)) for i, kind in enumerate(kinds * times))


def judge(*steps: Step, **facts: object):
    facts = {"optimizers": 1, "stepped_optimizers": len({step.optimizer for step in steps}), **facts}
    return LoopOrder().judge(Loop(steps=steps, **facts))


def test_passes_the_usual_order_and_draws_it():
    verdict = judge(*[GOOD] * 4, events=events("batch", "clear", "forward", "loss", "backward", "step"))
    assert verdict.kind == "pass"
    assert isinstance(verdict.details[0], Timeline)


def test_fails_when_gradients_are_cleared_before_the_step():
    lost = Step(optimizer=0, where=STEP, backwards=1, kept=0, discarded=1, discarded_where=CLEAR, without_gradient=True)
    verdict = judge(
        *[lost] * 4, clear_between_backward_and_step=True, clear_where=CLEAR, events=events("batch", "backward", "clear", "step")
    )
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CLEAR
    assert any(event.flagged for event in verdict.details[0].events)


def test_fails_when_backward_is_missing():
    verdict = judge(*[EMPTY] * 4, events=events("batch", "clear", "forward", "step"))
    assert verdict.severity is Severity.ERROR
    assert "never called" in verdict.message


def test_fails_when_the_step_comes_first_and_finds_nothing():
    verdict = judge(*[EMPTY] * 4, step_before_backward=True, events=events("batch", "clear", "forward", "step", "backward"))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == STEP


def test_only_warns_when_the_step_uses_the_gradients_of_the_batch_before():
    verdict = judge(EMPTY, *[GOOD] * 4, step_before_backward=True, events=events("batch", "step", "clear", "forward", "backward"))
    assert verdict.severity is Severity.WARNING


def test_passes_one_empty_step_before_the_loop():
    first = (Event(kind="step", where=STEP),)
    verdict = judge(EMPTY, *[GOOD] * 4, step_before_backward=True, events=first + events("batch", "clear", "forward", "backward", "step"))
    assert verdict.kind == "pass"


def test_fails_when_the_optimizer_never_steps_and_gradients_are_cleared():
    verdict = judge(events=events("batch", "clear", "forward", "backward"))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == BACKWARD


def test_only_warns_of_a_missing_step_that_may_be_a_long_accumulation():
    assert judge(events=events("batch", "backward", times=10)).severity is Severity.WARNING
    epochs = (Event(kind="epoch", where=STEP), *events("batch", "backward", times=5)) * 3
    assert "in 2 whole epochs" in judge(events=epochs).message
    assert judge(events=events("batch", "backward", times=4)).kind == "not-run"


def test_does_not_judge_updates_by_hand():
    assert judge(events=events("batch", "clear", "backward"), manual_updates=True).kind == "not-run"
    assert judge(events=events("batch", "clear", "backward"), optimizers=0).kind == "not-run"


def test_does_not_judge_a_scaler_that_skips_its_first_steps():
    assert judge(events=events("batch", "clear", "backward", "unscale")).kind == "not-run"


def test_fails_when_accumulated_gradients_are_thrown_away():
    lost = Step(optimizer=0, where=STEP, backwards=4, kept=1, discarded=3, discarded_where=CLEAR)
    micro = ("batch", "clear", "backward") * 4
    verdict = judge(*[lost] * 3, events=events(*micro, "step"))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == CLEAR
    assert "75%" in verdict.message


def test_passes_adversarial_gradients_that_are_cleared_within_a_batch():
    inner = Step(optimizer=0, where=STEP, backwards=4, kept=1, discarded=3, discarded_where=CLEAR)
    once = ("batch", *("backward", "clear") * 3, "backward", "step")
    assert judge(*[inner] * 3, events=events(*once)).kind == "pass"


def test_passes_alternating_gan_steps():
    critic = Step(optimizer=0, where=STEP, backwards=3, kept=2, discarded=1, discarded_where=CLEAR)
    generator = Step(optimizer=1, where=STEP, backwards=1, kept=1)
    order = ("batch", "clear", "backward", "backward", "step", "clear", "backward", "step")
    assert judge(*(critic, generator) * 3, events=events(*order)).kind == "pass"


def test_passes_closures():
    search = Step(optimizer=0, where=STEP, backwards=20, kept=1, discarded=19)
    assert judge(*[search] * 3, closure=True, has_loader=False, events=events(*("clear", "backward") * 20, "step")).kind == "pass"


def test_warns_of_clipping_after_the_step():
    late = Step(optimizer=0, where=STEP, backwards=1, kept=1, clip_where=CLIP, clip_after_step=True)
    verdict = judge(*[late] * 3, GOOD, events=events("batch", "backward", "step", "clip"))
    assert verdict.severity is Severity.WARNING
    assert verdict.location == CLIP


def test_leaves_parameters_without_gradient_to_other_rules():
    assert judge(*[EMPTY] * 4, events=events("batch", "backward", "step")).kind == "not-run"


def test_errs_when_an_accumulation_outlasts_every_epoch_and_waits_where_epochs_were_cut_short():
    seen = events("batch", "backward", times=30)
    head = (Event(kind="epoch", where=STEP), Event(kind="clear", where=STEP))
    assert judge(events=(*head, *seen, *head, *seen, *head)).severity is Severity.ERROR
    seen = events("batch", "backward", times=96)
    assert judge(events=(*head, *seen, *head, *seen, *head)).kind == "not-run"


def test_errs_when_closures_step_and_no_loss_comes_back():
    verdict = judge(*[Step(optimizer=0, where=STEP)] * 4, closure=True, events=events("batch", "forward", "loss", "clear", "step"))
    assert verdict.severity is Severity.ERROR
    assert "although one is computed" in verdict.message
    assert judge(*[GOOD] * 4, closure=True, events=events("batch", "forward", "loss", "clear", "backward", "step")).kind == "pass"


def test_a_step_that_returns_no_loss_is_named_where_it_returns():
    returns = Location("train.py", 30)
    steps = [Step(optimizer=0, where=STEP)] * 4
    verdict = judge(*steps, closure=True, step_returns_where=returns, events=events("batch", "clear", "forward", "loss", "step"))
    assert (verdict.severity, verdict.location) == (Severity.ERROR, returns)


def held(times: int, batches: float) -> tuple[Event, ...]:
    """Steps that accelerate holds back at every other batch."""
    return (
        Event(kind="backward", where=BACKWARD),
        Event(kind="backward"),
        Event(kind="step-held", where=STEP, info={"batches": batches}),
    ) * times


def test_fails_when_accelerate_holds_back_each_step():
    verdict = judge(events=held(8, 4.0))
    assert verdict.severity is Severity.ERROR
    assert verdict.location == STEP
    assert "8 times in 16 backward() calls" in verdict.message


def test_waits_for_the_end_of_what_accelerate_accumulates():
    assert judge(events=held(3, 64.0)).kind == "not-run"


def test_forwards_by_which_a_policy_acts_are_no_batches_whose_gradients_could_be_lost():
    """Statistics of a natural gradient are taken in a first backward() of the one batch, and cleared."""
    taken = Step(optimizer=0, where=STEP, backwards=2, kept=1, discarded=1, discarded_where=CLEAR)
    acts = (Event(kind="forward", where=STEP, info={"grad": False}),) * 3
    turn = (*acts, Event(kind="forward", where=STEP, info={"grad": True}), *events("backward", "clear", "backward", "step", times=1))
    assert judge(*[taken] * 4, has_loader=False, events=turn * 4).kind == "pass"
