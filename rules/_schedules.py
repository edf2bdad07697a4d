"""How long a run is, where its schedule is stepped, and the schedule drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainlint.details import Line, Mark, Series
from trainlint.location import Location
from trainlint.measurements import Loop, SchedulerInfo

__all__ = ["RunLength", "by_trainer", "drawn", "goes_by_epochs", "stepped_at"]

#: A line that hands the loop to a trainer.
_CALL = re.compile(r"\.(fit|train|run)\(")


@dataclass(frozen=True)
class RunLength:
    """How long the run is, as far as it is known."""

    loop: Loop
    epochs: int | None
    """Known only where the loop is seen to go over epochs: counting steps, it may draw batches from an endless loader."""
    steps: int | None
    """Optimizer steps in a full epoch."""

    @property
    def total(self) -> int | None:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps if self.epochs and self.steps else None


def goes_by_epochs(loop: Loop) -> bool:
    """Whether a ``for`` statement over the training loader holds the optimizer's step, and began again."""
    heads = {event.where for event in loop.events if event.kind == "epoch" and event.phase != "val" and event.where}
    inside = {step.where.function for step in loop.steps if step.where}
    return loop.epochs_begun > 1 and any(head.function in inside and head.text.startswith(("for ", "async for ")) for head in heads)


def by_trainer(loop: Loop) -> bool:
    """Whether one call of a trainer's method runs all epochs; the first may have been set up where the module asks for its length."""
    heads = [event.where for event in loop.events if event.kind == "epoch" and event.phase != "val" and event.where]
    return loop.epochs_begun > 1 and bool(heads) and _CALL.search(heads[-1].text) is not None


def stepped_at(scheduler: SchedulerInfo, run: RunLength) -> Location | None:
    """Where the schedule is stepped; where it was built, when a trainer does that by what it was told there."""
    return scheduler.where if by_trainer(run.loop) and not scheduler.attached else scheduler.stepped_where or scheduler.where


def drawn(scheduler: SchedulerInfo, end: float | None) -> tuple[Series, ...]:
    """Draw the schedule, with the place where the run ends on it."""
    preview = scheduler.preview
    if not preview:
        return ()
    scale = (scheduler.preview_calls or scheduler.horizon or len(preview)) / len(preview)
    return (
        Series(
            title=f"{scheduler.kind} as it was built",
            x_label="call of scheduler.step()",
            y_label="learning rate",
            lines=(Line(name="learning rate", x=tuple(i * scale for i in range(len(preview))), y=preview),),
            marks=() if end is None else (Mark(label="the run ends here", x=end * scale),),
        ),
    )
