"""How the HTML page is put in order: failures under their stage, what was seen under its topic, timeline events in rows of one iteration each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from trainlint.details import Detail, ImageGrid, Timeline, TimelineEvent
from trainlint.finding import Finding, Outcome
from trainlint.measurements import MEASUREMENTS
from trainlint.report import Report

from .phrases import StageState, frame, stage_states

__all__ = [
    "Call",
    "Measured",
    "Section",
    "Topic",
    "Turn",
    "blocked",
    "details_of",
    "lanes",
    "measured",
    "sections",
    "subject",
    "topics",
    "turns",
]

#: The usual order of a step; each kind of event has its lane, from left to right.
_USUAL = ("load", "zero_grad", "forward", "loss", "backward", "clip", "step", "schedule")
_LANE_OF = {"batch": "load", "clear": "zero_grad", "unscale": "clip"} | {name: name for name in _USUAL if name not in ("load", "zero_grad")}
_SHOWN_AS = {
    "clear": "zero_grad", "batch": "load", "epoch": "new pass", "load": "weights loaded", "train": "train()", "eval": "eval()",
    "mode": "training mode",
}  # fmt: skip
#: Events that no order is wrong about; something else is, where they are at fault.
_ANYWHERE = frozenset({"forward", "loss"})
_SWITCHES = frozenset({"epoch", "train", "eval", "load", "mode"})
_MOST_TURNS = 60


@dataclass(frozen=True)
class Section:
    """One stage with what failed in it, worst first."""

    state: StageState
    failures: tuple[Finding, ...]


@dataclass(frozen=True)
class Topic:
    """Neighbouring details of the overview under one heading."""

    title: str
    anchor: str
    details: tuple[Detail, ...]
    first: bool = False
    """It tells how the run ended, and comes before the findings."""


@dataclass(frozen=True)
class Call:
    """One event of the loop and where it stands: its lane, counted from 0, and that of the event before it in its iteration."""

    event: TimelineEvent
    name: str
    lane: int | None
    """None for what has no place in the order of a step, such as a switch of modes."""
    before: int | None
    wrong: bool = False
    """A rule calls this event or the one before it wrong."""

    @property
    def way(self) -> str:
        """Where the path goes from the event before: ``on``, ``back``, ``back wrong``, ``same``, or nowhere."""
        if self.lane is None or self.before is None:
            return ""
        back = "back wrong" if self.wrong else "back"
        return "same" if self.lane == self.before else "on" if self.lane > self.before else back


@dataclass(frozen=True)
class Turn:
    """One iteration of the loop, or the switches before it, and how many equal ones it stands for."""

    calls: tuple[Call, ...]
    times: int = 1
    again: int = 0
    """How many iterations follow that are shown above already."""


@dataclass(frozen=True)
class Measured:
    """One measurement and what it cost."""

    name: str
    what: str
    seconds: float
    share: float
    """Of the costliest one."""


def sections(report: Report) -> tuple[Section, ...]:
    """The stages in which something failed; the failure under Start here has its own place."""
    found = []
    for state in stage_states(report):
        failures = tuple(f for f in report.failed if f.stage is state.stage and f is not report.start_here)
        if failures:
            found.append(Section(state, failures))
    return tuple(found)


def blocked(report: Report) -> tuple[tuple[str, tuple[Finding, ...]], ...]:
    """Blocked rules by the failure that they wait for."""
    waiting: dict[str, list[Finding]] = {}
    for finding in report:
        if finding.outcome is Outcome.BLOCKED:
            waiting.setdefault(finding.blocked_by or "", []).append(finding)
    return tuple((cause, tuple(findings)) for cause, findings in waiting.items())


def topics(report: Report) -> tuple[Topic, ...]:
    """The overview under its headings."""
    parts = [(title, tuple(group)) for title, group in itertools.groupby(report.overview, key=lambda d: d.topic)]
    ended = report.subject.status != "recorded"
    return tuple(
        Topic(title or "What was seen", f"seen-{i}", group, first=ended and i == 1 and group[0].type == "code")
        for i, (title, group) in enumerate(parts, 1)
    )


def details_of(finding: Finding, report: Report) -> tuple[Detail, ...]:
    """A finding's details, but for the code under Where and for pictures that the overview shows: the heaviest part of a page."""
    shown = {d.pictures for d in report.overview if isinstance(d, ImageGrid)}
    place = frame(finding)
    return tuple(d for d in finding.details if d is not place and not (isinstance(d, ImageGrid) and d.pictures in shown))


def measured(report: Report) -> tuple[Measured, ...]:
    """What was measured, the costliest first, with the first sentence of its documentation."""
    most = max(report.cost.probes.values(), default=0.0)
    rows = []
    for name, seconds in sorted(report.cost.probes.items(), key=lambda item: -item[1]):
        kind = MEASUREMENTS.get(name)
        what = re.split(r"\.\s", f"{(kind.__doc__ or '') if kind else ''} ")[0].strip()
        rows.append(Measured(name, what, seconds, seconds / most if most else 0.0))
    return tuple(rows)


def lanes(timeline: Timeline) -> tuple[str, ...]:
    """The lanes from left to right.

    Gradients may be cleared anywhere between a step and the next ``backward()``: where the order is not at fault, their lane is where this loop does it, so
    that its path goes back the least.
    """
    if any(event.flagged and event.kind not in _ANYWHERE for event in timeline.events):
        return _USUAL
    rest = tuple(name for name in _USUAL if name != "zero_grad")
    others = [(*rest[:i], "zero_grad", *rest[i:]) for i in range(2, len(rest) + 1)]
    return min((_USUAL, *others), key=partial(_turned_back, timeline))


def _turned_back(timeline: Timeline, order: tuple[str, ...]) -> tuple[int, int]:
    """How often the path of a loop goes back or begins anew, in lanes of this order, and how many different ways it takes."""
    lane = _lane(order)
    rows = [tuple(lane[event.kind] for event in row if event.kind in lane) for row in _iterations(timeline.events, lane)]
    return len(rows) + sum(b < a for row in rows for a, b in itertools.pairwise(row)), len(set(rows))


def _lane(order: tuple[str, ...]) -> dict[str, int]:
    """The lane of each kind of event."""
    return {kind: order.index(name) for kind, name in _LANE_OF.items()}


def turns(timeline: Timeline) -> tuple[Turn, ...]:
    """Split the events where an iteration begins and fold those that were shown before, so that an odd order stands out."""
    lane = _lane(lanes(timeline))
    found: list[Turn] = []
    for events in _iterations(timeline.events, lane):
        calls = tuple(_calls(events, lane))
        if found and found[-1].calls == calls and not found[-1].again:
            found[-1] = replace(found[-1], times=found[-1].times + 1)
        elif any(turn.calls == calls for turn in found):
            found[-1] = replace(found[-1], again=found[-1].again + any(call.lane for call in calls))
        else:
            found.append(Turn(calls))
    return tuple(found[:_MOST_TURNS])


def subject(event: TimelineEvent) -> str:
    """What an event's label says beyond its kind."""
    return event.label.removeprefix(event.kind).strip()


def _calls(events: Sequence[TimelineEvent], lane: dict[str, int]) -> Iterator[Call]:
    before: TimelineEvent | None = None
    for event in events:
        wrong = event.flagged or (before is not None and before.flagged)
        yield Call(event, _SHOWN_AS.get(event.kind, event.kind), lane.get(event.kind), lane[before.kind] if before else None, wrong)
        before = event if event.kind in lane else before


def _iterations(events: Sequence[TimelineEvent], lane: dict[str, int]) -> Iterator[tuple[TimelineEvent, ...]]:
    """Groups of events: switches and new passes by themselves, each iteration from its batch on.

    An iteration also ends where the loop goes back after a ``backward()``, with a further batch that accumulates, another network's turn or, without
    a loader, the next step; but not where a rule calls that wrong.
    """
    row: list[TimelineEvent] = []
    for event in events:
        switch = event.kind in _SWITCHES
        last = next((e for e in reversed(row) if e.kind in lane), None)
        again = last is not None and any(e.kind in ("backward", "step") for e in row) and lane.get(event.kind, 9) < lane[last.kind]
        faulty = event.kind not in _ANYWHERE and (event.flagged or (last is not None and last.flagged))
        anew = again and not faulty
        if row and (switch != (row[-1].kind in _SWITCHES) or event.kind == "batch" or anew):
            yield tuple(row)
            row = []
        row.append(event)
    if row:
        yield tuple(row)
