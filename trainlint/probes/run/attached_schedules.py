"""Schedules of ignite, which are called by the events of an engine: which they are, how often they are called, and where their curve leads.

The engine is found on the stack: a recording ends within its loop. Nothing of ignite is imported, its objects are known by their classes' names.
"""

from __future__ import annotations

import ast
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

from trainlint.location import Location
from trainlint.measurements import SchedulerInfo
from trainlint.probes.run.schedulers import scheduler_info, steps_per_epoch
from trainlint.probes.source.own_files import own_files
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import SchedulerSeen

__all__ = ["attached_schedules"]

#: Events that are an optimizer step or an epoch each, where nothing filters them.
_CADENCES = {"ITERATION_STARTED": "step", "ITERATION_COMPLETED": "step", "EPOCH_STARTED": "epoch", "EPOCH_COMPLETED": "epoch"}
_CYCLES = ("LinearCyclicalScheduler", "CosineAnnealingScheduler")
#: What builds a ConcatScheduler, other than its class.
_WARMUP = "create_lr_scheduler_with_warmup"
#: Points of a drawing, and calls on the stack that are looked at.
_POINTS, _DEEP = 200, 200


def attached_schedules(recording: Recording, epochs: int | None) -> tuple[list[SchedulerInfo], set[int]]:
    """Learning-rate schedules among an engine's handlers, and the ids of torch's schedulers that such handlers step."""
    found: list[SchedulerInfo] = []
    stepped: set[int] = set()
    for handler, event in _handlers():
        stepped |= {id(inner) for inner in _torch_schedulers(handler)}
        if event in _CADENCES and getattr(_parts(handler)[0], "param_name", "") == "lr":
            found += _info(recording, handler, _CADENCES[event], epochs)
    return found, stepped


def _handlers() -> Iterator[tuple[Any, str]]:
    """Handlers that change parameters of an optimizer, each with the event that calls it; empty for several events, or a filtered one."""
    frame: FrameType | None = sys._getframe(1)
    engines: dict[int, Any] = {}
    for _ in range(_DEEP):
        if frame is None:
            break
        owner = frame.f_locals.get("self")
        if str(frame.f_globals.get("__name__", "")).startswith("ignite.") and isinstance(getattr(owner, "_event_handlers", None), dict):
            engines[id(owner)] = owner
        frame = frame.f_back
    for engine in engines.values():
        attached = [(entry[0], event) for event, entries in engine._event_handlers.items() for entry in entries]
        attached = [(h, e) for h, e in attached if any(c.__name__ in ("ParamScheduler", "ParamGroupScheduler") for c in type(h).__mro__)]
        times = Counter(id(handler) for handler, _ in attached)
        for handler, event in {id(handler): (handler, event) for handler, event in attached}.values():
            plain = times[id(handler)] == 1 and getattr(event, "filter", None) is None
            yield handler, str(getattr(event, "name", "")) if plain else ""


def _parts(handler: Any) -> list[Any]:
    """The schedules that follow each other in one handler, of several groups the first's."""
    inner = getattr(handler, "schedulers", None)
    if not isinstance(inner, list | tuple) or not inner:
        return [handler]
    return [p for part in (inner if hasattr(handler, "durations") else inner[:1]) for p in _parts(part)]


def _torch_schedulers(handler: Any) -> Iterator[Any]:
    for part in getattr(handler, "schedulers", None) or [handler]:
        if part is not handler:
            yield from _torch_schedulers(part)
        elif (inner := getattr(part, "lr_scheduler", None) or getattr(part, "scheduler", None)) is not None:
            yield getattr(inner, "_lr_scheduler", inner)


def _info(recording: Recording, handler: Any, cadence: str, epochs: int | None) -> Iterator[SchedulerInfo]:
    """The last of the schedules in a handler, and the first with its peak; none where their classes are not known."""
    parts = _parts(handler)
    each_epoch = {"epoch": 1, "step": steps_per_epoch(recording)}[cadence]
    run = epochs * each_epoch if epochs and each_epoch else None
    built, attached = _places(recording, handler)
    facts: dict[str, Any] = {"cadence": cadence, "calls": 1, "where": built, "stepped_where": attached, "attached": True}
    peak, reached = _rise(parts[0], run)
    if len(parts) > 1:
        yield SchedulerInfo(kind=type(parts[0]).__name__, peak=peak, reached=reached, **facts)
    else:
        facts |= {"peak": peak, "reached": reached}
    last, kind = parts[-1], type(parts[-1]).__name__
    if kind == "LRScheduler":
        inner = next(_torch_schedulers(last))
        seen = next((s for s in recording.schedulers if s.scheduler is inner), None) or SchedulerSeen(inner, -1, None)
        info = scheduler_info(recording, seen, True, None)
        yield replace(info, **{key: value for key, value in facts.items() if value is not None})
        return
    horizon, rates = _curve(last, kind)
    if horizon:
        owner = next((o.index for o in recording.optimizers if o.optimizer is getattr(last, "optimizer", None)), None)
        yield SchedulerInfo(kind=kind, optimizer=owner, horizon=horizon, preview=rates, preview_calls=horizon + 1, **facts)


def _curve(schedule: Any, kind: str) -> tuple[int, tuple[float, ...]]:
    """``(length in calls, learning rates over it)``; 0 where the class is not known."""
    if kind == "PiecewiseLinear":
        length = int(schedule.milestones[-1])
        return length, tuple(_between(schedule.milestones, schedule.values, call) for call in _calls(length))
    if kind not in _CYCLES:
        return 0, ()
    length, start, end = int(schedule.cycle_size), float(schedule.start_value), float(schedule.end_value)
    if kind == "CosineAnnealingScheduler" or getattr(schedule, "monotonic", False):
        shares = [call / length for call in _calls(length)]
        shares = [(1 - math.cos(math.pi * s)) / 2 for s in shares] if kind == "CosineAnnealingScheduler" else shares
    else:
        shares = [1 - abs(call / length - 0.5) * 2 for call in _calls(length)]
    return length, tuple(start + (end - start) * share for share in shares)


def _calls(length: int) -> range:
    return range(0, length + 1, max(1, length // _POINTS))


def _between(milestones: Sequence[int], values: Sequence[float], call: int) -> float:
    """The value at a call, on straight lines between the milestones."""
    for i, milestone in enumerate(milestones):
        if call <= milestone:
            if i == 0 or milestone == milestones[i - 1]:
                return float(values[i])
            share = (call - milestones[i - 1]) / (milestone - milestones[i - 1])
            return float(values[i - 1] + (values[i] - values[i - 1]) * share)
    return float(values[-1])


def _rise(first: Any, run: int | None) -> tuple[float | None, float | None]:
    """``(peak, highest rate within the run)`` of a schedule of milestones."""
    if type(first).__name__ != "PiecewiseLinear" or not run:
        return None, None
    at = [*(m for m in first.milestones if m < run), run]
    return float(max(first.values)), max(_between(first.milestones, first.values, call) for call in at)


def _places(recording: Recording, handler: Any) -> tuple[Location | None, Location | None]:
    """Where a handler is built and where it is attached, by the script's source; of several such calls the one whose name has it."""
    kind = type(handler).__name__
    names = {kind, _WARMUP} if kind == "ConcatScheduler" else {kind}
    trees = [(file, tree) for file in own_files(recording.frames, sys.modules) if (tree := source_tree(file)) is not None]
    found = [(file, tree, c) for file, tree in trees for c in ast.walk(tree) if isinstance(c, ast.Call) and _last(c.func) in names]
    known = _names(handler)
    calls = [
        (*one, {ast.unparse(t) for n in ast.walk(one[1]) if isinstance(n, ast.Assign) and n.value is one[2] for t in n.targets})
        for one in found
    ]
    calls = calls if len(calls) == 1 else [one for one in calls if one[3] & known]
    if len(calls) != 1:
        return None, None
    file, tree, call, named = calls[0]
    attached = []
    for one in ast.walk(tree):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
            given = {"add_event_handler": one.args, "attach": [one.func.value]}.get(one.func.attr, [])
            attached += [one] if any(value is call or ast.unparse(value) in named for value in given) else []
    at = recording.frames.location
    return at((file, call.lineno, "")), at((file, attached[0].lineno, "")) if len(attached) == 1 else None


def _names(handler: Any) -> set[str]:
    """Names that functions on the stack have for it."""
    frame: FrameType | None = sys._getframe(1)
    found: set[str] = set()
    for _ in range(_DEEP):
        if frame is None:
            break
        found |= {name for name, value in frame.f_locals.items() if value is handler}
        frame = frame.f_back
    return found


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
