"""A run's curves as typed charts, thinned to what a chart can show, with the places that its verdict speaks of marked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from trainlint.curves.runs import Run, Trace
from trainlint.curves.shapes import Verdict
from trainlint.details import Line, Mark, Series

__all__ = ["charts"]

_MOST = 600
"""Points of a line; of each stretch the lowest and the highest are kept."""
#: Evidence that is a place on the x axis, and what stands there.
_PLACES = {
    "minimum_at": "lowest", "best_at": "lowest", "first_at": "not finite from here", "at": "largest jump", "flat_until": "begins to learn",
    "decayed_at": "learning rate taken down", "since": "flat from here",
}  # fmt: skip


def charts(run: Run, verdict: Verdict) -> tuple[Series, ...]:
    """Losses in one chart; metric and learning rate in one each."""
    return tuple(_charts(run, verdict))


def _charts(run: Run, verdict: Verdict) -> Iterator[Series]:
    marks = tuple(
        Mark(label=label, x=float(value)) for key, label in _PLACES.items() if isinstance(value := verdict.evidence.get(key), int | float)
    )
    losses = [(name, trace) for name, trace in (("training", run.train), ("validation", run.val)) if trace is not None]
    title = f"{run.name}: " if run.name else ""
    if losses:
        yield Series(
            title=f"{title}loss",
            x_label=run.x_label,
            y_label="loss",
            lines=tuple(_line(*entry) for entry in losses),
            log_y=_wide([t for _, t in losses]),
            marks=marks,
        )
    for label, trace in (("metric", run.metric), ("learning rate", run.lr)):
        if trace is not None and len(trace) > 1:
            name = run.columns.get("metric" if label == "metric" else "lr") or label
            yield Series(
                title=f"{title}{label}", x_label=run.x_label, y_label=name, lines=(_line(name, trace),), marks=() if losses else marks
            )


def _wide(traces: list[Trace]) -> bool:
    """Whether the values span more than two powers of ten, all above zero."""
    values = np.concatenate([t.y[np.isfinite(t.y)] for t in traces])
    return bool(len(values) and values.min() > 0 and values.max() > 100 * values.min())


def _line(name: str, trace: Trace) -> Line:
    size = len(trace)
    if size <= _MOST:
        keep = np.arange(size)
    else:
        edges = np.linspace(0, size, _MOST // 2 + 1).astype(int)
        kept: list[int] = []
        for a, b in pairwise(edges):
            part = np.where(np.isfinite(trace.y[a:b]), trace.y[a:b], np.nan)
            if np.isnan(part).all():
                kept.append(int(a))
            else:
                kept += sorted({int(a + np.nanargmin(part)), int(a + np.nanargmax(part))})
        keep = np.array(kept)
    y = np.where(np.isfinite(trace.y[keep]), trace.y[keep], np.nan)
    return Line(name=name, x=tuple(map(float, trace.x[keep])), y=tuple(map(float, y)))
