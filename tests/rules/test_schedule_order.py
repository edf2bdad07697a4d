from __future__ import annotations

from trainlint.finding import Severity
from trainlint.location import Location
from trainlint.measurements import Event, Loop, Optimizers, SchedulerInfo, Step
from trainlint_rules.schedule_order import ScheduleOrder

EARLY, RESUME = Location("train.py", 25), Location("train.py", 12)
STEP = Step(optimizer=0, backwards=1, kept=1)


def schedule(where: Location = EARLY) -> Event:
    return Event(kind="schedule", where=where)


def judge(*events: Event, early: bool = True, calls: int = 3, steps: tuple[Step, ...] = (STEP,) * 3):
    scheduler = SchedulerInfo(
        kind="StepLR", optimizer=0, calls=calls, before_optimizer=early, stepped_where=EARLY, preview=(0.1, 0.1, 0.01)
    )
    return ScheduleOrder().judge(Optimizers(schedulers=(scheduler,)), Loop(events=events, steps=steps))


OPTIMIZER = Event(kind="step")


def test_passes_a_scheduler_that_comes_last():
    assert judge(*[OPTIMIZER, schedule()] * 3, early=False).kind == "pass"


def test_warns_when_the_scheduler_comes_first():
    verdict = judge(*[schedule(), OPTIMIZER] * 3)
    assert verdict.severity is Severity.WARNING
    assert verdict.location == EARLY
    assert "0.1 is skipped" in verdict.message


def test_passes_a_resumed_run_that_finds_its_place():
    assert judge(*[schedule(RESUME)] * 20, *[OPTIMIZER, schedule()] * 3).kind == "pass"


def test_passes_a_single_call_before_the_loop_from_another_line():
    assert judge(schedule(RESUME), *[OPTIMIZER, schedule()] * 3).kind == "pass"


def test_passes_a_first_step_that_the_scaler_skipped():
    assert judge(*[schedule(), OPTIMIZER] * 3, steps=(Step(optimizer=0, skipped=True), STEP)).kind == "pass"


def test_does_not_judge_a_scheduler_that_is_not_stepped():
    assert judge(OPTIMIZER, calls=0).kind == "not-run"
