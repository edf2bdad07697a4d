"""Schedulers that are told how far the run is, as timm's are, and the loops over a range that any scheduler is stepped in."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from trainlint.record.seen import SchedulerSeen

__all__ = ["by_rounds", "counted_cadence", "counted_horizon", "counted_rates", "unit_of"]

#: Points of a drawing; the pace of a count within an epoch from which it is one of updates, and up to which it is one of epochs.
_POINTS, _UPDATES, _EPOCHS = 200, 0.9, 0.5
#: Turns of a loop that may be epochs, and how closely a length has to fit them.
_ROUNDS, _FIT = 3, 1.1


def unit_of(scheduler: Any) -> str:
    """The unit in which a scheduler counts, if it is told the count."""
    by_epochs = getattr(scheduler, "t_in_epochs", None)
    return "" if not isinstance(by_epochs, bool) or not hasattr(scheduler, "step_update") else "epochs" if by_epochs else "updates"


def counted_horizon(scheduler: Any) -> int | None:
    """The count at which such a schedule has ended."""
    if hasattr(scheduler, "t_initial") and getattr(scheduler, "cycle_mul", 1) == 1:
        prefix = getattr(scheduler, "warmup_prefix", True)
        cycles = max(1, int(getattr(scheduler, "cycle_limit", 1)))
        return int(scheduler.t_initial) * cycles + (int(scheduler.warmup_t) if prefix else 0)
    decays = getattr(scheduler, "decay_t", None)
    return int(max(decays)) if isinstance(decays, list | tuple) and decays else None


def counted_rates(scheduler: Any, calls: int) -> tuple[float, ...]:
    """Its first rate at some 200 counts up to ``calls``, and at its end; empty where it cannot be told."""
    try:
        return tuple(float(scheduler._get_lr(t)[0]) for t in {**dict.fromkeys(range(0, calls, max(1, calls // _POINTS))), calls: None})
    except Exception:  # a schedule may be the user's own
        return ()


def counted_cadence(seen: SchedulerSeen) -> str:
    """What the counts that it was handed are counts of: ``step``, ``epoch`` or ``unknown``; ``never`` when it was handed none."""
    if not seen.calls:
        return "never" if seen.idle else "unknown"
    told = [(steps, epoch, count) for (steps, epoch, _, _), count in zip(seen.calls, seen.counts, strict=False)]
    within = [(b[2] - a[2]) / (b[0] - a[0]) for a, b in itertools.pairwise(told) if a[1] == b[1] and b[0] > a[0]]
    if len(within) >= 2:
        pace = statistics.median(within)
        return "step" if _UPDATES <= pace <= 1 / _UPDATES else "epoch" if pace <= _EPOCHS else "unknown"
    if len(told) == 1:
        steps, epoch, count = told[0]
        return "epoch" if steps > 2 and count <= epoch else "unknown"
    between = [b[2] - a[2] for a, b in itertools.pairwise(told) if b[1] > a[1]]
    return "epoch" if between and not within and all(jump == 1 for jump in between) else "unknown"


def by_rounds(seen: SchedulerSeen, horizon: int | None) -> tuple[int | None, int]:
    """``(turns, calls in one turn)`` of the nearest ``range`` loop that a schedule is stepped several times in one turn of.

    Loops that the scheduler was built in do not count. Nothing is told when a loop that each call ends a turn of is as long as the schedule.
    """
    outside = {(turn.file, turn.line) for turn in seen.built_in}
    values: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for turns in seen.turns:
        for turn in turns:
            if (turn.file, turn.line) not in outside:
                values.setdefault((turn.file, turn.line), []).append((turn.value, turn.length))
    found: tuple[int | None, int] = None, 0
    for loop in values.values():
        most = max(len(list(group)) for _, group in itertools.groupby(loop, key=lambda turn: turn[0]))
        length = loop[-1][1]
        if most == 1:
            if horizon and length / _FIT <= horizon <= length * _FIT:
                return None, 0
        elif found[0] is None and length >= _ROUNDS:
            found = length, most
    return found
