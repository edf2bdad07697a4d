from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, OptimizerInfo, Optimizers, Step
from trainlint_rules.gradient_accumulation import GradientAccumulation

STEP, BACKWARD = Location("train.py", 30), Location("train.py", 28)


def step(backwards: int = 1, *, kept: int | None = None, stale: int = 0, optimizer: int = 0) -> Step:
    kept = backwards + stale if kept is None else kept
    return Step(optimizer=optimizer, where=STEP, backwards=backwards, kept=kept, stale=stale, backward_where=BACKWARD, gradient_norm=1.0)


def events(batches: int, steps: int = 3) -> tuple[Event, ...]:
    one = (Event(kind="batch", phase="train"), Event(kind="forward", phase="train"), Event(kind="backward"))
    return (*one * batches, Event(kind="step")) * steps


def judge(*steps: Step, optimizer: str = "SGD", **facts: object):
    facts = {"stepped_optimizers": 1, **facts}
    return GradientAccumulation().judge(Loop(steps=steps, **facts), Optimizers(optimizers=(OptimizerInfo(index=0, kind=optimizer),)))


def test_passes_when_gradients_are_cleared():
    assert judge(step(), step(), step()).kind == "pass"


def test_fails_when_gradients_pile_up():
    verdict = judge(step(), step(stale=1), step(stale=2), step(stale=3))
    assert verdict.severity is Severity.ERROR
    assert verdict.evidence["measured"] == 3
    assert verdict.location == BACKWARD


def test_warns_of_an_undivided_sum_of_batches():
    verdict = judge(*[step(8)] * 3, accumulation=8, loss_divided_by=1.0, events=events(8))
    assert verdict.severity is Severity.WARNING
    assert verdict.location == BACKWARD
    assert verdict.fix is not None
    assert verdict.fix.code == "(loss / 8).backward()"


def test_only_notes_it_with_adam():
    verdict = judge(*[step(8)] * 3, optimizer="AdamW", accumulation=8, loss_divided_by=1.0, events=events(8))
    assert verdict.severity is Severity.NOTE


def test_passes_a_divided_accumulation():
    assert judge(*[step(8)] * 3, accumulation=8, loss_divided_by=8.0, events=events(8)).kind == "pass"


def test_passes_several_losses_on_one_batch():
    assert judge(*[step(4)] * 3, accumulation=4, loss_divided_by=1.0, events=events(1)).kind == "pass"


def test_passes_alternating_optimizers():
    steps = (step(2, kept=2), step(1, optimizer=1)) * 3
    assert judge(*steps, accumulation=2, loss_divided_by=1.0, stepped_optimizers=2).kind == "pass"


def test_passes_a_closure_that_clears_and_goes_backward_many_times():
    assert judge(*[step(20, kept=1)] * 3, accumulation=20, loss_divided_by=1.0, closure=True).kind == "pass"


def test_passes_a_single_stale_step_of_a_warm_up():
    assert judge(step(), step(stale=1), step(), step()).kind == "pass"


def test_does_not_judge_a_single_step():
    assert judge(step()).kind == "not-run"


def test_two_steps_of_which_one_is_stale_are_too_few_to_judge():
    steps = (Step(optimizer=0, backwards=1, kept=1), Step(optimizer=0, backwards=1, kept=2, stale=1))
    found = GradientAccumulation().judge(Loop(steps=steps), Optimizers())
    assert found.kind == "not-run"
    assert "2 recorded steps" in found.message


def test_warns_when_the_loop_and_a_library_both_divide():
    verdict = judge(*[step(8)] * 3, accumulation=8, loss_divided_by=64.0, events=events(8))
    assert (verdict.kind, verdict.severity) == ("fail", Severity.WARNING)
    assert "divided by 8 twice" in verdict.message
    assert judge(*[step(8)] * 3, optimizer="AdamW", accumulation=8, loss_divided_by=64.0, events=events(8)).severity is Severity.NOTE
    assert judge(*[step(8)] * 3, accumulation=8, loss_divided_by=16.0, events=events(8)).kind == "pass"


def test_a_loss_function_that_a_trainer_calls_is_told_to_divide_itself():
    own = Location("train.py", 40)
    verdict = judge(*[step(8)] * 3, accumulation=8, loss_divided_by=1.0, loss_where=own, events=events(8))
    assert verdict.location == own
    assert "num_items_in_batch" in verdict.fix.code
    assert verdict.fix.edit is None


def test_the_scripts_own_division_is_the_line_to_change():
    own = Location("train.py", 40)
    assert judge(*[step(8)] * 3, accumulation=8, loss_divided_by=64.0, divided_where=own, events=events(8)).location == own
