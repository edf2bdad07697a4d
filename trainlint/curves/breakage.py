"""Signs that a run is broken: it never moves, starts late, jumps, or swings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainlint.curves.features import Curve
from trainlint.curves.view import Sign, View

__all__ = ["broken", "flat_then_drop", "is_flat", "oscillating", "spikes"]

_CONSTANT = 1e-3
"""Relative range under which a curve counts as constant: less than the third digit."""
_AT_ONCE = 0.66
"""Share of a jump's height that one step makes; a slower rise is no jump."""
_SWING = {"training loss": 0.35, "validation loss": 0.2}
"""Swing over level. Single batches of a healthy run scatter by up to a third; an evaluation averages over its whole set."""
_OF_FALL = {"training loss": 0.2, "validation loss": 0.05}
"""Swing over the whole fall: near zero a small swing is a large share of its level. A loss that is averaged over epochs counts as validation."""
_TURNS = 0.34
"""Share of inner points at which a swinging curve turns; pure noise turns at two thirds of them, a single step at none."""
_NO_FALL = 0.02
"""Relative change under which a noisy curve without a trend counts as flat."""
_MANY = 2000
"""Values from which on a jump must last longer than one of them: among so many single batches some are odd."""
_SHOULDER = 200
"""Optimizer steps that a flat start lasts at least; shorter ones are the shoulder of an ordinary start, however short the run."""


def broken(view: View) -> Sign | None:
    """Nothing moves from the first step on: constant to the third digit, or flat but for noise."""
    curves = [curve for _, curve in view.named()]
    if not curves or any(len(c) < 3 for c in curves):
        return None
    if view.train is None and view.val is None:
        return _constant_metric(view)
    named = list(view.named())
    late = view.begins_late and any(np.ptp(c.y) > _CONSTANT * c.size for _, c in named)  # what came before is not known
    if all(_constant(c) for _, c in named) and not late and not _finished(view):
        name, curve = named[0]
        level = float(np.median(curve.y))
        spread = float(np.ptp(curve.y[1:])) / curve.size
        return Sign(
            "broken",
            f"The {name} stays at {level:.6g}: it moves by {spread:.1g} of that in {len(curve)} values.",
            {"level": level, "moves": spread},
        )
    if all(is_flat(c) for _, c in named) and not view.begins_late and not (view.metric_improves or _metric_moves(view)):
        name, curve = named[0]
        found = curve.trend()
        change = found.change / curve.size
        return Sign(
            "broken",
            f"The {name} stays around {curve.size:.4g}: its trend over the whole run is {change:+.1%} (p = {found.p:.2g}).",
            {"level": curve.size, "change": change, "p_value_of_trend": found.p, "noise": curve.noise},
            values=len(curve),
        )
    return None


def _metric_moves(view: View) -> bool:
    """Whether the metric ends better than it began by a tenth of its level, far beyond its noise."""
    metric = view.metric
    return metric is not None and len(metric.levels) >= 8 and metric.start - metric.end > max(0.1 * metric.size, 6 * metric.noise)


def _constant_metric(view: View) -> Sign | None:
    curve = view.metric
    if curve is None or len(curve) < 4 or np.ptp(curve.y) > _CONSTANT * curve.size:
        return None
    level = view.shown(curve, float(np.median(curve.y)))
    return Sign("broken", f"The metric stays at {level:g} in all {len(curve)} values.", {"level": level})


def _constant(curve: Curve) -> bool:
    """Whether all but the first tenth lies within the third digit, and little was learned before."""
    rest = curve.y[max(1, len(curve.y) // 10) :]
    level = float(np.median(rest))
    return bool(np.ptp(rest) <= _CONSTANT * max(abs(level), 1e-12) and abs(curve.start - level) <= 0.15 * max(abs(curve.start), 1e-12))


def _finished(view: View) -> bool:
    """Whether the loss is constant because nothing is left to learn: training that goes on from a finished model."""
    accuracy = view.accuracy
    return bool(accuracy is not None and len(np.unique(accuracy)) > 1 and np.median(accuracy) > 0.9)


def is_flat(curve: Curve) -> bool:
    """Whether there is no trend worth a fiftieth of the level, or none that noise would not make."""
    if len(curve.levels) < 5:
        return False
    found = curve.trend()
    steady = -_NO_FALL * curve.size <= found.change <= 5 * _NO_FALL * curve.size and not (
        found.falls(1e-3) and abs(found.change) > 0.005 * curve.size
    )
    steady = steady and float(np.ptp(curve.smooth)) <= max(0.1 * curve.size, 6 * curve.noise)
    return steady and curve.fall <= max(0.05 * curve.size, 4 * curve.noise) and curve.roughness(0) < 0.15


def flat_then_drop(view: View) -> Sign | None:
    """The first fifth of the run or more, and 200 steps where steps are counted, brings less than a quarter of the fall; then it comes, at three times the pace."""
    curve = view.train if view.train is not None else view.val
    if curve is None or len(curve.levels) < 8 or curve.relative_fall < 0.1 or curve.fall < 6 * curve.noise:
        return None
    smooth, size = curve.smooth, len(curve.smooth) - 1
    fallen = curve.start - np.minimum.accumulate(smooth)
    begins = int(np.argmax(fallen > 0.25 * curve.fall))
    half = int(np.argmax(fallen > 0.6 * curve.fall))
    if begins < 0.2 * size or half == 0:
        return None
    before = max(float(fallen[begins - 1]), 0.0) / max(begins - 1, 1)
    after = (float(fallen[half]) - float(fallen[begins - 1])) / max(half - begins + 1, 1)
    if after < 3 * before or smooth[:begins].max() > curve.start + 0.3 * curve.fall:
        return None
    where = float(curve.x[curve.edges[begins]])
    if view.counts_steps and where - float(curve.x[0]) < _SHOULDER:
        return None
    return Sign(
        "flat-then-drop",
        f"The {view.name_of(curve)} stays near {curve.start:.4g} until {view.at(where)} ({begins / size:.0%} of the run), then falls to {curve.best:.4g}.",
        {"flat_until": where, "share_of_run": begins / size, "start": curve.start, "best": curve.best},
    )


def spikes(view: View) -> Sign | None:
    """Sudden jumps of the training loss (of the validation loss without one) to half as much again, far beyond the usual noise."""
    curve = view.train if view.train is not None else view.val
    if curve is None or len(curve) < 10 or view.run.adversarial:
        return None
    tops, baseline, back = _jumps(curve, _restarts(view))
    if not tops:
        return None
    span = max(_span(curve), 1e-12)
    factors = [float(curve.y[t] / baseline[t]) if curve.positive else 1 + float((curve.y[t] - baseline[t]) / span) for t in tops]
    height = max(factors)
    if not (height >= 2 or len(tops) >= 2):
        return None
    last = "all of which it recovers from" if back == len(tops) else f"{len(tops) - back} of them without recovering"
    times = (
        f"{len(tops)} times, {last}"
        if len(tops) > 1
        else f"once, at {view.at(float(curve.x[tops[0]]))}, and {'recovers' if back else 'does not recover'}"
    )
    measure = f"{height:.1f} times the level before" if curve.positive else f"{height - 1:.1f} times the usual range above it"
    return Sign(
        "spikes",
        f"The {view.name_of(curve)} jumps {times}; the largest reaches {measure}.",
        {"count": len(tops), "recovered": back, "largest": height, "at": float(curve.x[tops[int(np.argmax(factors))]])},
    )


def _span(curve: Curve) -> float:
    """The usual range of a curve: what nine tenths of it cover."""
    low, high = np.percentile(curve.y, [5, 95])
    return float(high - low)


def _restarts(view: View) -> NDArray[np.float64]:
    """Where a learning rate that had been lowered jumps up by half or more: the loss follows it by design. Warm-up is no restart."""
    trace = view.run.lr
    if trace is None or len(trace) < 3:
        return np.empty(0)
    lowered = np.maximum.accumulate(trace.y)[:-1] > 1.5 * trace.y[:-1]
    return trace.x[1:][lowered & (trace.y[1:] > 1.5 * trace.y[:-1])]


def _jumps(curve: Curve, restarts: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64], int]:
    """Positions of the tops, the level each rose from, and how many were followed by a return to it.

    In logarithms where the curve is positive, so that multiplicative batch noise counts as noise. A jump rises by 7 times the noise
    and by the logarithm of 1.5 (half the usual range when not positive), and one single step makes two thirds of it.
    """
    y = np.log(curve.y) if curve.positive else curve.y
    steps = np.diff(y)
    # Raw values, not levels: the noise of single steps is what a jump must stand out of.
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / np.sqrt(2)
    least = max(7 * noise, np.log(1.5) if curve.positive else 0.5 * _span(curve))
    # The level before: the median of the three values up to each.
    base = np.array([np.median(y[max(0, i - 2) : i + 1]) for i in range(len(y))])
    tops: list[int] = []
    baseline = base.copy()
    back, at = 0, 2
    for i in np.flatnonzero(steps > 0.5 * least):
        if i < at - 1:
            continue
        if len(y) > _MANY and i + 2 < len(y) and y[i + 2] <= base[i] + 0.5 * least:
            continue  # one hard batch of thousands
        near = y[i + 1 : i + 4]
        top = i + 1 + int(np.argmax(near))
        if np.any((restarts >= curve.x[max(i - 1, 0)]) & (restarts <= curve.x[top])):
            continue
        height = curve.y[top] - (np.exp(base[i]) if curve.positive else base[i])
        if height < 0.1 * curve.fall or y[top] - base[i] <= least or steps[i] <= _AT_ONCE * (y[top] - base[i]):
            continue
        returned = np.flatnonzero(y[i + 1 :] <= base[i] + 0.25 * (y[top] - base[i]))
        stop = i + 1 + int(returned[0]) if len(returned) else len(y)
        top = i + 1 + int(np.argmax(y[i + 1 : stop])) if stop > i + 1 else top
        tops.append(top)
        baseline[top] = base[i]
        back += bool(len(returned))
        at = max(stop, i + 2)
    return tops, np.exp(baseline) if curve.positive else baseline, back


def oscillating(view: View) -> Sign | None:
    """The loss swings by a good part of its level, and of all it fell, over the last two fifths of the run, and goes nowhere meanwhile."""
    for name, curve in view.named():
        if name == "metric" or len(curve.levels) < 8:
            continue
        if name == "training loss" and view.val is not None and len(view.val.levels) >= 4 and view.val.roughness(0.5) < 0.1:
            continue  # single batches are noisy; a calm validation loss shows that the model is not
        since = 0.6 if len(curve.levels) >= 20 else 0.5
        swing = curve.roughness(since)
        found = curve.trend(since)
        turns = np.diff(np.sign(np.diff(curve.levels[int(since * len(curve.levels)) :]))) != 0
        if not turns.size or turns.mean() < _TURNS:
            continue
        level = float(np.median(np.abs(curve.levels[int(since * len(curve.levels)) :])))
        of_fall = _OF_FALL[name if view.of_batches else "validation loss"]
        if swing < _SWING[name] or swing * level < of_fall * curve.fall or (found.falls() and abs(found.change) > swing * curve.size):
            continue
        return Sign(
            "oscillating",
            f"The {name} swings by {swing:.0%} of its level over the later part of the run without a trend (p = {found.p:.2f}).",
            {"swing": swing, "p_value_of_trend": found.p, "level": level},
        )
    return None
