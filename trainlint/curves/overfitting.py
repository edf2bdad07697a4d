"""Signs that a run learns its training data by heart, or that what it is measured on has leaked."""

from __future__ import annotations

import numpy as np

from trainlint.curves.features import Curve, trend
from trainlint.curves.view import Sign, View, once

__all__ = ["overfit", "too_good"]


def too_good(view: View) -> Sign | None:
    """The validation metric is at 99.5 % from the first evaluations on."""
    accuracy = view.accuracy
    if accuracy is None or len(accuracy) < 3 or view.begins_late:
        return None
    first = accuracy[: max(2, len(accuracy) // 10)]
    if first.min() < 0.995 or np.median(accuracy) < 0.995:
        return None
    return Sign(
        "too-good",
        f"The metric is {first[0]:.4g} at its first evaluation and never below {accuracy.min():.4g}.",
        {"first": float(first[0])},
        values=len(accuracy),
    )


def overfit(view: View) -> Sign | None:
    """The validation loss turns up for good while the training loss goes on falling."""
    val, train = view.val, view.train
    if val is None or len(val.levels) < 4:
        return None if val is None or train is None else _rises_at_once(view, val, train)
    turn = int(np.argmin(val.smooth))
    after = val.smooth[turn:]
    rise = val.end - val.best
    tail = trend(val.levels[turn:])
    share = rise / max(abs(val.best), 1e-12)
    enough = share > 0.05 or (share > 0.02 and val.relative_fall > 0.05 and rise > 0.2 * val.fall)
    if share < 0.25:
        # A run that reaches zero loss grows more certain of its few errors: that costs a little loss, and no accuracy.
        enough = enough and (
            _metric_worsens(view, val.best_x) or (share > 0.1 and rise > 0.3 * val.fall and _metric_stalls(view, val.best_x))
            if view.metric is not None and len(view.metric) >= 5
            else rise > 0.1 * val.fall
        )
    clear = rise > 2 * val.noise and (
        tail.rises() if len(after) >= 5 else bool(len(after) >= 2 and after[-1] == after.max() and rise > 3 * val.noise)
    )
    falls = train is None or _falls_after(train, val.best_x)
    # What is said is measured from the lowest value that was logged, what is judged from the lowest smoothed one.
    said = (val.end - val.best_y) / max(abs(val.best_y), 1e-12)
    evidence: dict[str, str | int | float | bool | None] = {
        "minimum": val.best_y, "minimum_at": val.best_x, "end": val.end, "rise": said if val.best_y else None, "p_value_of_rise": tail.p, "noise": val.noise,
    }  # fmt: skip
    if enough and clear and falls and len(after) >= 2:
        while_ = "" if train is None else f", while the training loss goes on to {view.ends(train)}"
        higher = f"{said:.0%} higher, at {view.ends(val)}" if val.best_y else f"at {view.ends(val)}"
        other = (
            " The metric goes on improving after that: choose the checkpoint by what counts for you; the loss then rises over answers that are given too surely."
            if _metric_gains(view, val.best_x)
            else ""
        )
        lowest = f"The validation loss is lowest at {view.at(val.best_x)} ({val.best_y:.4g}) and ends {higher}{while_}."
        return Sign("overfit", once(lowest) + other, evidence, values=len(val))
    if train is None:
        return None
    # The tail of a run: the gap is wide, only the training loss still moves.
    stuck = not trend(val.levels).falls(0.1) and val.end > val.best - 0.01 * abs(val.best)
    wide = train.positive and val.end > 2 * train.end and val.levels[0] > 1.5 * train.levels[0]
    moving = train.trend().falls(0.1) and train.relative_fall > 0.1
    if view.begins_late and stuck and wide and moving:
        return Sign(
            "overfit",
            f"The training loss falls from {train.start:.4g} to {train.end:.4g}; the validation loss, {val.end / train.end:.1f} times as high, does not follow.",
            evidence | {"ratio": val.end / train.end},
            values=len(val),
        )
    return None


def _rises_at_once(view: View, val: Curve, train: Curve) -> Sign | None:
    """Of three evaluations each is worse than the one before, by a seventh in all, while the training loss falls by a fifth."""
    rise = (val.end - val.start) / max(abs(val.start), 1e-12)
    if len(val.levels) < 3 or not np.all(np.diff(val.levels) > 0) or rise < 0.15 or train.relative_fall < 0.2 or train.end > train.start:
        return None
    return Sign(
        "overfit",
        once(
            f"The validation loss rises at each of {len(val)} evaluations, from {val.start:.4g} to {view.ends(val)}, while the training loss goes on to {view.ends(train)}."
        ),
        {"minimum": val.best_y, "minimum_at": val.best_x, "end": val.end, "rise": rise},
        values=len(val),
    )


def _metric_worsens(view: View, x: float) -> bool:
    """Whether the metric ends worse than it was around a place on the x axis, beyond its noise."""
    metric = view.metric
    near = None if metric is None else _level_at(metric, x)
    return metric is not None and near is not None and metric.end > near + 0.5 * metric.noise


def _metric_stalls(view: View, x: float) -> bool:
    """Whether less than a fifth of what the metric gains comes after a place on the x axis."""
    metric = view.metric
    near = None if metric is None else _level_at(metric, x)
    return metric is not None and near is not None and near - metric.end < 0.2 * metric.fall


def _metric_gains(view: View, x: float) -> bool:
    """Whether a fifth or more of what the metric gains, and more than its noise, comes after a place on the x axis."""
    metric = view.metric
    near = None if metric is None else _level_at(metric, x)
    return metric is not None and near is not None and near - metric.end > max(0.2 * metric.fall, 2 * metric.noise)


def _level_at(curve: Curve, x: float) -> float | None:
    """The median of the values around a place on the x axis."""
    at = int(np.searchsorted(curve.x, x))
    reach = max(1, len(curve) // 20)
    near = curve.y[max(0, at - reach) : at + reach + 1]
    return float(np.median(near)) if len(near) else None


def _falls_after(train: Curve, x: float) -> bool:
    """Whether the training loss is lower at its end than where the validation loss was lowest."""
    at = int(np.searchsorted(train.x, x))
    near = train.y[max(0, at - max(1, len(train) // 40)) : at + max(1, len(train) // 40) + 1]
    return bool(len(near)) and train.end < float(np.median(near)) + train.noise
