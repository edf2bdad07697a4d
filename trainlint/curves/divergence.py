"""Signs that a loss is lost: it ends as NaN, jumps up for good, or ends above its start."""

from __future__ import annotations

import numpy as np

from trainlint.curves.features import Curve
from trainlint.curves.runs import LINE, POINT, Trace
from trainlint.curves.view import Sign, View

__all__ = ["diverged"]

_HUGE = 1e12
"""A loss beyond this is an overflow in disguise: a cross entropy this large would need logits of as many nats."""

_SCANNED = 8
"""Optimizer steps that a scan measures; what comes later it does not see."""


def diverged(view: View) -> Sign | None:
    """A loss that ends as NaN or infinity, NaN gradients under a constant loss, or a loss that jumps up and stays there."""
    for name, trace in (("training loss", view.run.train), ("validation loss", view.run.val)):
        found = _not_finite(view, name, trace)
        if found:
            return found
    gradient, train = view.run.gradient, view.train
    if gradient is not None and train is not None and np.ptp(train.y) == 0:
        lost = float((~np.isfinite(gradient.y)).mean())
        if lost > 0.5:
            return Sign(
                "diverged",
                f"The gradient norm is NaN in {lost:.0%} of the rows, and the loss stays at {train.y[0]:g}.",
                {"nan_gradients": lost},
            )
    if view.run.adversarial:
        return None
    for name, curve in view.named():
        if name == "metric" or (name == "validation loss" and view.train is not None):
            continue
        if abs(curve.end) > _HUGE:
            return Sign("diverged", f"The {name} ends at {curve.end:.3g}: numbers overflow.", {"end": curve.end})
        found = _blown_up(view, name, curve) or (_risen(view, curve) if name == "training loss" else None)
        if found:
            return found
    return None


def _not_finite(view: View, name: str, trace: Trace | None) -> Sign | None:
    if trace is None or len(trace) < 2:
        return None
    lost = ~np.isfinite(trace.y)
    tail = max(2, len(trace) // 10)
    if not lost[-tail:].mean() >= 0.5:
        return None
    first = int(np.flatnonzero(lost)[0])
    share = float(lost.mean())
    where = float(trace.x[first])
    return Sign(
        "diverged",
        f"The {name} is NaN or infinite in {share:.0%} of its values, from {view.at(where)} on.",
        {"not_finite": share, "first_at": where},
        _who_names_it(view, trace, first),
    )


def _who_names_it(view: View, trace: Trace, first: int) -> str:
    """The command that sees the first loss that is not finite: a scan the first steps only, a watch the whole run."""
    excerpt = view.run.x_label not in (LINE, POINT) and trace.x[0] > 3 * max(float(np.median(np.diff(trace.x))), 1.0)
    if view.counts_steps and trace.x[first] <= _SCANNED:
        return "`trainlint scan` names the first operation that is not finite."
    if first == 0 and not excerpt:
        return "`trainlint scan` names the first operation that is not finite if it comes in the first steps; for one that comes later there is `trainlint watch`."
    return "`trainlint watch` sees the run to that point and names the step, and the operation where a replay shows it; a scan ends long before."


def _blown_up(view: View, name: str, curve: Curve) -> Sign | None:
    """The level after the best one is higher by a third of the whole fall, far beyond noise, and came there in a jump."""
    if len(curve.levels) < 6 or curve.best_at > 0.95:
        return None
    rise = curve.end - curve.best
    after = curve.smooth[int(np.argmin(curve.smooth)) :]
    if len(after) < 2 or rise <= max(8 * curve.noise, 0.1 * curve.size):
        return None
    jump = float((after[2:] - after[:-2]).max()) if len(after) > 2 else rise  # a stretch may hold the jump in its middle
    above_start = curve.end > curve.start + 0.5 * abs(curve.start) and not _learns(view)
    fell_and_lost = curve.fall > 0 and rise > 0.35 * curve.fall and jump > 0.5 * rise
    if not (fell_and_lost or above_start):
        return None
    begins = (
        f"rises from {curve.start:.4g}"
        if curve.best_x == curve.x[0]
        else f"falls to {curve.best_y:.4g} at {view.at(curve.best_x)}, then rises"
    )
    return Sign(
        "diverged",
        f"The {name} {begins} and ends at {view.ends(curve)}.",
        {"best": curve.best_y, "best_at": curve.best_x, "end": curve.end, "noise": curve.noise},
        values=len(curve),
    )


def _learns(view: View) -> bool:
    """Whether validation falls or the metric improves: a training loss can be made harder on the way, by augmentation or a term that is faded in."""
    val = view.val if view.train is not None else None
    return view.metric_improves or (val is not None and val.end < val.start - max(0.1 * abs(val.start), 2 * val.noise))


def _risen(view: View, curve: Curve) -> Sign | None:
    """The training loss ends above its start, by a tenth beyond three times its noise or by a quarter beyond twice it; the model is no better either."""
    if len(curve) < 3 or not curve.positive or view.begins_late or _learns(view):
        return None
    first, rise = curve.start, curve.end - curve.start
    if len(curve.levels) < 8:  # of which the noise is hardly known
        risen = rise > 0.5 * first
    else:
        risen = rise > max(0.1 * first, 3 * curve.noise) or rise > max(0.25 * first, 2 * curve.noise)
    if not risen:
        # The first stretch of a long log may lie after the jump; then the first value tells, against the noise of single ones.
        first = float(curve.y[0])
        single = 1.4826 / np.sqrt(2) * float(np.median(np.abs(np.diff(curve.y))))
        if curve.end - first <= max(0.5 * first, 2.5 * single):
            return None
    lowest = "is never lower" if curve.best_y >= first else f"is lowest at {view.at(curve.best_x)} ({curve.best_y:.4g})"
    return Sign(
        "diverged",
        f"The training loss begins at {first:.4g}, {lowest}, and ends above that, at {view.ends(curve)}.",
        {"start": first, "best": curve.best_y, "best_at": curve.best_x, "end": curve.end, "noise": curve.noise},
        "If it rises at a small rate too, look at the sign of the loss.",
        values=len(curve),
    )
