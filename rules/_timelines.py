"""The loop as it was seen, with the events that are at fault marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainlint.details import Timeline, TimelineEvent
from trainlint.measurements import Event, Loop

__all__ = ["drawn", "timeline"]

#: Events drawn.
DRAWN = 24


def timeline(loop: Loop, fault: str = "") -> Timeline:
    """Training events from the start; those of the kind ``fault`` are marked."""
    shown = [event for event in loop.events if event.phase != "val"][:DRAWN]
    return drawn("The loop as it was seen", shown, lambda event: event.kind == fault)


def drawn(title: str, events: Sequence[Event], flagged: Callable[[Event], bool]) -> Timeline:
    """These events in their order, those that ``flagged`` holds for marked."""
    return Timeline(
        title=title,
        events=tuple(
            TimelineEvent(
                kind=event.kind,
                label=event.subject or event.kind,
                file=event.where.container if event.where else "",
                line=event.where.line if event.where else 0,
                flagged=flagged(event),
            )
            for event in events
        ),
    )
