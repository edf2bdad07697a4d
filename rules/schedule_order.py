"""Finds a scheduler that steps before its optimizer.

## What it checks

- **Warning**: `scheduler.step()` came before the first `optimizer.step()`, and goes on coming first, so that the first value of the
  schedule is never used.

Several scheduler steps in a row before the first optimizer step pass, and so does one from another line than the later ones: that is a
resumed run finding its place. So does a first optimizer step that the gradient scaler skipped.

## Why it matters

Since PyTorch 1.1 the scheduler's constructor sets the first learning rate; stepping before the optimizer skips it. A per-epoch schedule
loses its first epoch, and milestones come one epoch early.

## Example

```python
for x, y in loader:
    scheduler.step()                        # before the optimizer
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
```

## Fix

Step the scheduler last.

```python
for x, y in loader:
    optimizer.zero_grad()
    criterion(model(x), y).backward()
    optimizer.step()
    scheduler.step()
```

## Thresholds

- None: one step too early is the fault.

## References

- PyTorch, torch.optim, How to adjust learning rate: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
"""

from __future__ import annotations

import itertools

from trainlint.details import Line, Mark, Series
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Loop, Optimizers
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._timelines import timeline


class ScheduleOrder(Rule):
    """A scheduler stepped before the optimizer."""

    code = "TL403"
    name = "schedule-order"
    stage = Stage.LEARNING_RATE
    severity = Severity.WARNING
    summary = "The scheduler steps after the optimizer"
    why = "The constructor sets the first learning rate; a scheduler that steps before the optimizer skips it."
    source = "PyTorch, How to adjust learning rate: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
    requires = (Optimizers, Loop)
    judges_loop = True
    blocked_by = ("loop-order",)

    def judge(self, optimizers: Optimizers, loop: Loop) -> Verdict:
        """Tell a loop in the wrong order from a resumed run."""
        called = [scheduler for scheduler in optimizers.schedulers if scheduler.calls]
        if not called:
            return not_run("no scheduler was stepped")
        early = [scheduler for scheduler in called if scheduler.before_optimizer]
        head = itertools.takewhile(lambda event: event.kind != "step", loop.events)
        ahead = sum(event.kind == "schedule" for event in head)
        if not early:
            return passed(f"{len(called)} of {len(called)} schedulers step after the optimizer.", evidence={"measured": 0, "expected": 0})
        lines = [event.where for event in loop.events if event.kind == "schedule"]
        alone = len(lines) > len(called) and lines[0] not in lines[1:]
        if ahead > len(called) or alone:
            return passed(f"{ahead} scheduler steps before training set the starting point of the schedule.", evidence={"measured": ahead})
        if loop.steps and loop.steps[0].skipped:
            return passed("The gradient scaler skipped the first optimizer step; the scheduler came after it.", evidence={"measured": 0})
        first = early[0]
        skipped = f" {first.preview[0]:.2g}" if first.preview else ""
        stride = max(first.preview_calls, len(first.preview)) / max(len(first.preview), 1)
        preview = tuple(i * stride for i in range(len(first.preview)))
        return failed(
            f"{first.kind}.step() comes before the first optimizer step: the schedule's first learning rate{skipped} is skipped.",
            severity=Severity.WARNING,
            evidence={"measured": ahead, "expected": 0},
            location=first.stepped_where or first.where,
            fix=Fix(
                summary="Step the scheduler after the optimizer.",
                code="optimizer.step()\nscheduler.step()",
                edit=Edit(kind="schedule-after-step"),
            ),
            details=(
                timeline(loop, "schedule"),
                Series(
                    title=f"Learning rate of {first.kind}",
                    x_label="call of scheduler.step()",
                    y_label="learning rate",
                    lines=(Line(name=first.kind, x=preview, y=first.preview),),
                    marks=(Mark(label="skipped", x=0.0),),
                ),
            )
            if first.preview
            else (timeline(loop, "schedule"),),
        )
