"""Signs of how well a run fits: underfit, stalled, still on its way, validation better than training."""

from __future__ import annotations

import math

import numpy as np

from trainlint.curves.breakage import is_flat
from trainlint.curves.features import Curve, trend
from trainlint.curves.view import Sign, View

__all__ = ["early_decay", "is_good", "plateau", "still_improving", "underfit", "val_better"]


def underfit(view: View) -> Sign | None:
    """Little is learned and no more is coming, or the loss falls while the metric stays on one value."""
    found = _stuck_metric(view)
    if found:
        return found
    losses = [curve for name, curve in view.named() if name != "metric"]
    if not losses or view.begins_late or any(len(c.levels) < 4 for c in losses) or not all(c.positive for c in losses):
        return None
    if any(c.relative_fall >= 0.12 for c in losses) or is_good(view) or _still_falls(losses):
        return None
    curve = losses[0]
    falls = f"falls by {curve.relative_fall:.1%} in the whole run" if curve.end < curve.start else "does not fall beyond its noise"
    return Sign(
        "underfit",
        f"The {view.name_of(curve)} {falls}: from {curve.start:.4g} to {view.ends(curve)}.",
        {"fall": curve.relative_fall, "start": curve.start, "end": curve.end},
        values=len(curve),
    )


def _still_falls(losses: list[Curve]) -> bool:
    """Whether a fall of a twentieth, far beyond noise, goes on in the second half of every loss: a fine-tuned model begins near its floor."""
    if losses[0].relative_fall < 0.05 or any(c.fall < 5 * c.noise for c in losses):
        return False
    return all(c.trend(0.5).falls(0.01) if len(c.levels) >= 8 else bool(np.all(np.diff(c.levels) < 0)) for c in losses)


def is_good(view: View) -> bool:
    """Whether the metric says that the model is good all the same: fine-tuning starts low."""
    accuracy = view.accuracy
    return accuracy is not None and float(np.median(accuracy)) > 0.8


def _stuck_metric(view: View) -> Sign | None:
    accuracy, curve = view.accuracy, view.fitted
    if accuracy is None or curve is None or len(accuracy) < 6 or curve is view.metric or curve.relative_fall < 0.05:
        return None
    tail = np.round(accuracy[len(accuracy) * 2 // 5 :], 4)
    values, counts = np.unique(tail, return_counts=True)
    common = float(counts.max()) / len(tail)
    if common < 0.8 or values[np.argmax(counts)] > 0.97 or curve.end < 0.3 * abs(curve.start):
        return None
    level = float(values[np.argmax(counts)])
    return Sign(
        "underfit",
        f"The loss falls from {curve.start:.4g} to {curve.end:.4g}, but the metric is {level:.4g} in {common:.0%} of the later evaluations: one answer for all.",
        {"metric": level, "share": common, "start": curve.start, "end": curve.end},
        values=len(accuracy),
    )


def early_decay(view: View) -> Sign | None:
    """The learning rate falls to a tenth before two thirds of the run are over, and what was falling stops there."""
    rate, curve = view.rate(), view.fitted
    if rate is None or curve is None or len(curve.levels) < 10 or rate.max() <= 0:
        return None
    low = np.flatnonzero(rate > 0.1 * rate.max())
    at = (int(low[-1]) + 1) / len(rate)
    if not 0.08 < at < 0.66:
        return None
    before, after = curve.part(max(at - 0.2, 0.0), at - 0.04), curve.part(min(at + 0.04, 0.95))
    if len(before) < 3 or len(after) < 3:
        return None
    gained, later = float(before[0] - before[-1]), float(after[0] - after[-1])
    pace = gained / 0.16 * (1 - at)
    dropped = float(before[-1] - after[0])
    if gained < max(0.04 * curve.fall, 3 * curve.noise) or later > 0.2 * pace or dropped > 2.5 * gained:
        return None
    where = float(curve.x[min(int(at * len(curve.x)), len(curve.x) - 1)])
    return Sign(
        "early-decay",
        f"The learning rate is below a tenth of its highest from {view.at(where)} on ({at:.0%} of the run); the {view.name_of(curve)}, falling until then, "
        f"moves by {later:.3g} in the rest, where its pace would have brought {pace:.3g}.",
        {"decayed_at": where, "share_of_run": at, "gained_before": gained, "gained_after": later},
    )


def plateau(view: View, least: float | None = None) -> Sign | None:
    """Much of the run brings nothing, with noise as before and no sign that the learning rate has been lowered.

    ``least`` is the share of the run that must be flat: half where the log shows that the learning rate stays up, three quarters
    where it says nothing about it, because a run that has converged looks the same.
    """
    curve = view.judged
    if curve is not None and view.begins_late and len(curve.levels) >= 5 and is_flat(curve):
        level = view.shown(curve, curve.size)
        return Sign(
            "plateau",
            f"The log begins at {view.at(float(curve.x[0]))}; from there on the {view.name_of(curve)} stays around {level:.4g}.",
            {"level": level, "noise": curve.noise},
            values=len(curve),
        )
    if curve is None or len(curve.levels) < 10 or _done(view, curve):
        return None
    smooth = curve.smooth
    band = max(0.03 * curve.fall, 1.5 * curve.noise)
    reached = int(np.argmax(smooth <= curve.best + band))
    share = 1 - reached / (len(smooth) - 1)
    tail = curve.trend(1 - share)
    moving = (tail.falls() or tail.rises()) and abs(tail.change) > 0.01 * max(curve.fall, abs(curve.end))
    rate = view.rate()
    if share < (least or (0.75 if rate is None else 0.5)) or moving or curve.fall < 3 * curve.noise:
        return None
    if rate is not None:
        late = rate[int(len(rate) * (1 - share)) :]
        if late.min() < 0.5 * rate.max():
            return None  # it was lowered: the run has ended, not stalled
    elif _calmer(curve, 1 - share):
        return None
    where = float(curve.x[curve.edges[reached]])
    level = view.shown(curve, curve.end)
    kept = "" if rate is None else f" The learning rate stays at {rate[-1]:.3g}."
    return Sign(
        "plateau",
        f"The {view.name_of(curve)} stays at {level:.4g} from {view.at(where)} on, {share:.0%} of the run (p-value of a trend {tail.p:.2f}).{kept}",
        {"since": where, "share_of_run": share, "level": level, "p_value_of_trend": tail.p, "noise": curve.noise},
    )


def _done(view: View, curve: Curve) -> bool:
    """Whether hardly anything is left: a fiftieth of the first loss, a quarter that is mostly the noise of batches, or 97 % in the metric."""
    accuracy = view.accuracy
    noisy = curve is view.train and view.of_batches and curve.roughness(0.5) > 0.12
    low = curve.positive and curve.end < (0.25 if noisy else 0.02) * curve.start
    return low or (accuracy is not None and float(np.median(accuracy[-max(1, len(accuracy) // 10) :])) > 0.97)


def _calmer(curve: Curve, since: float) -> bool:
    """Whether noise dies down over the flat part, as it does when the learning rate goes to zero."""
    middle = 0.5 * (since + 1)
    first = curve.part(since, middle)
    last = curve.part(middle)
    if len(first) < 4 or len(last) < 4:
        return False
    return float(np.abs(np.diff(last)).mean()) < 0.5 * float(np.abs(np.diff(first)).mean())


def val_better(view: View) -> Sign | None:
    """The validation loss lies 15 % or more under the training loss nearly everywhere in the second half."""
    val, train = view.val, view.train
    if val is None or train is None or len(val) < 3 or not (val.positive and train.positive):
        return None
    beside = np.interp(val.x, train.x, train.y) if len(train) < 3 * len(val) else _around(train, val)
    half = slice(len(val) // 2, None) if len(val) >= 6 else slice(None)
    ratios = val.y[half] / beside[half]
    ratio, below = float(np.median(ratios)), float((ratios < 1).mean())
    if ratio > 0.85 or below < 0.85:
        return None
    return Sign(
        "val-better",
        f"The validation loss is {ratio:.2g} times the training loss, and below it in {below:.0%} of the evaluations.",
        {"ratio": ratio, "below": below},
        values=len(val),
    )


def _around(train: Curve, val: Curve) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The median training loss between evaluations."""
    ends = np.searchsorted(train.x, val.x, side="right")
    begins = np.r_[0, ends[:-1]]
    return np.array(
        [np.median(train.y[a:b]) if b > a else np.interp(x, train.x, train.y) for a, b, x in zip(begins, ends, val.x, strict=True)]
    )


def still_improving(view: View) -> Sign | None:
    """The last quarter of the run brings a good part of what a straight line would, and the learning rate was not yet taken down."""
    curve = view.judged
    if curve is None or len(curve.levels) < 3 or curve.fall <= 0:
        return None
    size = len(curve.smooth)
    last = curve.part(0.75) if size >= 8 else curve.smooth[-2:]
    gained = float(last[0] - last[-1]) if size < 8 else -trend(last).change
    # From the highest level, not the first: what rises at first and then falls has fallen all that way.
    share, straight = gained / (float(curve.smooth.max()) - curve.best), (len(last) - 1) / (size - 1)
    pace = share / max(straight, 1e-9)
    if pace < (0.4 if size >= 8 else 0.3) or gained < 0.01 * curve.size or (size >= 8 and not trend(last).falls(0.1)):
        return None
    if size >= 8 and curve.best_at < 0.85:
        return None
    train = view.train
    if size < 8 and train is not None and curve is not train and not (trend(train.part(0.6)).change < -0.05 * train.fall):
        return None  # one good evaluation is no trend
    rate = view.rate()
    if (rate is not None and rate[-1] < 0.15 * rate.max()) or curve.end > curve.start - curve.noise:
        return None
    better = "improves" if curve is view.metric else "falls"
    if size < 8:  # a share of the run says nothing where a single value is a quarter of it
        before, end, start = (view.shown(curve, float(y)) for y in (last[0], last[-1], curve.smooth.max()))
        brings = f"still {better} in its last step, from {before:.4g} to {end:.4g}, after a start at {start:.4g}"
    else:
        brings = f"still {better} at {pace:.0%} of the run's mean pace: the last {straight:.0%} of the run bring {math.floor(100 * share)}% of the fall"
    return Sign(
        "still-improving",
        f"The {view.name_of(curve)} {brings}.",
        {"pace": pace, "share_of_fall": share, "end": view.shown(curve, curve.end)},
        values=len(curve),
    )
