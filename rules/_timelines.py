"""The loop as it was seen, with the kind of event that is at fault marked."""

from __future__ import annotations

from trainlint.details import Timeline, TimelineEvent
from trainlint.measurements import Loop

__all__ = ["timeline"]

#: Events drawn.
DRAWN = 24


def timeline(loop: Loop, fault: str = "") -> Timeline:
    """Training events from the start; those of the kind ``fault`` are marked."""
    shown = [event for event in loop.events if event.phase != "val"][:DRAWN]
    return Timeline(
        title="The loop as it was seen",
        events=tuple(
            TimelineEvent(
                kind=event.kind,
                label=event.subject or event.kind,
                file=event.where.container if event.where else "",
                line=event.where.line if event.where else 0,
                flagged=event.kind == fault,
            )
            for event in shown
        ),
    )
