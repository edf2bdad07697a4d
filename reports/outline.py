"""How the HTML page is put in order: findings under their stage, timeline events in rows of one iteration each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainlint.details import Timeline, TimelineEvent
from trainlint.finding import Finding, Outcome, Report

from .phrases import StageState, stage_states

__all__ = ["Row", "Section", "sections", "subject", "timeline_rows"]

_OPENERS = frozenset({"batch", "epoch", "train", "eval"})
_MOST_ROWS = 60


@dataclass(frozen=True)
class Section:
    """One stage with what needs attention in it: failures worst first, then blocked rules."""

    state: StageState
    failures: tuple[Finding, ...]
    blocked: tuple[Finding, ...]


@dataclass(frozen=True)
class Row:
    """One iteration of the loop, and how many equal ones came directly after it."""

    events: tuple[TimelineEvent, ...]
    times: int = 1


def sections(report: Report) -> tuple[Section, ...]:
    """The stages in which something failed or is blocked."""
    result = []
    for state in stage_states(report):
        failures = tuple(f for f in report.failed if f.stage is state.stage)
        blocked = tuple(f for f in report if f.stage is state.stage and f.outcome is Outcome.BLOCKED)
        if failures or blocked:
            result.append(Section(state, failures, blocked))
    return tuple(result)


def timeline_rows(timeline: Timeline) -> tuple[Row, ...]:
    """Split the events where an iteration begins and fold equal neighbours, so that an odd order stands out."""
    rows: list[Row] = []
    for events in _iterations(timeline.events):
        if rows and rows[-1].events == events:
            rows[-1] = Row(events, rows[-1].times + 1)
        else:
            rows.append(Row(events))
    return tuple(rows[:_MOST_ROWS])


def subject(event: TimelineEvent) -> str:
    """What an event's label says beyond its kind."""
    return event.label.removeprefix(event.kind).strip()


def _iterations(events: tuple[TimelineEvent, ...]) -> Iterator[tuple[TimelineEvent, ...]]:
    """Groups of events; without a loader an iteration ends with the optimizer's step."""
    loads = any(e.kind == "batch" for e in events)
    row: list[TimelineEvent] = []
    for event in events:
        opens = event.kind in _OPENERS and any(e.kind not in _OPENERS for e in row)
        follows_step = not loads and event.kind in ("clear", "forward", "loss") and any(e.kind == "step" for e in row)
        if opens or follows_step:
            yield tuple(row)
            row = []
        row.append(event)
    if row:
        yield tuple(row)
