"""What goes wrong with schedules that are told a count, as timm's are, and with those in loops that no loader counts the steps of."""

from __future__ import annotations

from collections.abc import Iterator

from trainlint.finding import Fix, Severity
from trainlint.measurements import SchedulerInfo
from trainlint.rule import Verdict, failed
from trainlint_rules._schedule_fixes import each_epoch
from trainlint_rules._schedules import RunLength, drawn, stepped_at

__all__ = ["in_rounds", "never_told"]

#: Optimizer steps after which a count of updates would have been told.
TOLD = 3
#: How closely a length has to fit the turns of a loop, and the calls in one turn from which it is no loop of the schedule's.
FIT, CALLS = 1.1, 3
#: What tells which unit.
_TOLD_BY = {"epochs": "step(epoch)", "updates": "step_update(num_updates)"}


def never_told(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    """A schedule that counts epochs and is told updates only, or the reverse."""
    unit = scheduler.unit
    waits = unit == "epochs" and not (run.loop.has_loader and run.loop.epochs_begun > 1)  # the epoch may not be over
    if scheduler.idle_where is None or scheduler.calls or waits or len(run.loop.steps) < TOLD:
        return
    other = _TOLD_BY["updates" if unit == "epochs" else "epochs"].partition("(")[0]
    preview = scheduler.preview
    low = bool(preview) and preview[0] <= 0.2 * max(preview)
    yield failed(
        f"{scheduler.kind} counts {unit} (t_in_epochs={unit == 'epochs'}) but only {other}() is called, which does nothing then: "
        + (f"the learning rate stays at {preview[0]:.2g}." if preview else "the learning rate stays as it is."),
        severity=Severity.ERROR if low else Severity.WARNING,
        evidence={"measured": 0, "expected": _TOLD_BY[unit], "horizon": scheduler.horizon},
        location=scheduler.idle_where,
        fix=Fix(
            summary=f"Tell it the {unit} that have gone by, or build it with t_in_epochs={unit != 'epochs'} and its length in that unit.",
            code="scheduler.step(epoch + 1)  # after each epoch"
            if unit == "epochs"
            else "scheduler.step_update(num_updates)  # after each optimizer step",
        ),
        details=drawn(scheduler, None),
    )


def in_rounds(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    """As long as a loop over a range has turns, but stepped many times in each: built for epochs, stepped after each batch."""
    horizon, rounds, calls, preview = scheduler.horizon, scheduler.rounds, scheduler.calls_in_round, scheduler.preview
    if not horizon or not rounds or calls <= CALLS or not rounds / FIT <= horizon <= rounds * FIT:
        return
    if not preview or preview[-1] >= 0.5 * max(preview):
        return
    effect = f"the learning rate swings up and down every {horizon} steps" if scheduler.swings else f"it has ended after {horizon} steps"
    yield failed(
        f"{scheduler.kind} is built for {horizon:,} calls, the {rounds} turns of the loop around it, but is stepped {calls} times and more in one "
        f"turn: {effect}.",
        severity=Severity.WARNING,
        evidence={"measured": calls, "expected": 1, "threshold": CALLS, "horizon": horizon, "turns": rounds},
        location=stepped_at(scheduler, run),
        fix=each_epoch(scheduler),
        details=drawn(scheduler, None),
    )
