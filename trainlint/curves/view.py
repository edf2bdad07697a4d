"""What the tests of shapes look at: the curves of one run side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainlint.curves.features import Curve
from trainlint.curves.runs import LINE, POINT, Run, Trace

__all__ = ["Sign", "View", "once", "place"]

_MEDIAN = " (median of the last values)"
_STEPS = re.compile(r"step|iter|batch|update", re.IGNORECASE)
Json = str | int | float | bool | None


@dataclass(frozen=True)
class Sign:
    """A shape that a test found, with the numbers it rests on and one sentence that says them."""

    shape: str
    summary: str
    evidence: dict[str, Json] = field(default_factory=dict)
    also_do: str = ""
    """One more sentence after the shape's first action, where this sign calls for it."""
    values: int = 0
    """How many values of a curve it rests on; 0 where even few would be enough, as with NaN."""


@dataclass(frozen=True)
class View:
    """The curves of a run as far as there are any; the metric is turned so that lower is better."""

    run: Run
    train: Curve | None
    val: Curve | None
    metric: Curve | None

    @classmethod
    def of(cls, run: Run) -> View:
        """Look at a run."""
        return cls(
            run,
            _curve(run.train),
            _curve(run.val),
            _curve(run.metric or run.train_metric, higher=run.higher_is_better or run.metric is None),
        )

    @property
    def fitted(self) -> Curve | None:
        """What the optimizer works on: the training loss, else the validation loss, else the metric."""
        return self.train or self.val or self.metric

    @property
    def judged(self) -> Curve | None:
        """What the run is for: the validation loss when it has enough points, else what is fitted; the metric where only it gets better."""
        losses = [c for c in (self.val, self.train) if c is not None and len(c.levels) >= 4]
        if self.metric_improves and losses and losses[0].end > losses[0].start and all(c.fall < 0.15 * c.size for c in losses):
            return self.metric
        if self.val is not None and (len(self.val) >= 4 or self.train is None):
            return self.val
        return self.fitted

    def named(self) -> Iterator[tuple[str, Curve]]:
        """The losses with the names that sentences call them by; the metric when there is no loss."""
        if self.train is not None:
            yield "training loss", self.train
        if self.val is not None:
            yield "validation loss", self.val
        if self.train is None and self.val is None and self.metric is not None:
            yield "metric", self.metric

    def name_of(self, curve: Curve) -> str:
        """How a sentence calls a curve."""
        return next((name for name, own in self.named() if own is curve), "metric")

    def shown(self, curve: Curve, value: float) -> float:
        """A level of a curve as the log has it: the metric is turned back."""
        return -value if curve is self.metric and (self.run.higher_is_better or self.run.metric is None) else value

    def at(self, x: float) -> str:
        """A place on the x axis with its unit: ``epoch 11``."""
        return place(self.run.x_label, x)

    def ends(self, curve: Curve) -> str:
        """The level that a curve ends at; where the last value is another by a hundredth, with the word for what it is."""
        last = float(curve.y[-1])
        which = _MEDIAN if abs(curve.end - last) > 0.01 * abs(last) else ""
        return f"{self.shown(curve, curve.end):.4g}{which}"

    @property
    def of_batches(self) -> bool:
        """Whether values of the training loss may be of single batches: the log does not count whole epochs."""
        curve = self.train
        if "epoch" not in self.run.x_label.lower():
            return True
        return curve is not None and len(curve) > 1 and float(np.median(np.diff(curve.x))) < 1

    @property
    def counts_steps(self) -> bool:
        """Whether the x axis counts optimizer steps, by its name."""
        return bool(_STEPS.search(self.run.x_label))

    @property
    def accuracy(self) -> NDArray[np.float64] | None:
        """The metric as a share of one when higher is better and it looks like one, given as a fraction or in percent."""
        trace = self.run.metric
        if trace is None or not self.run.higher_is_better:
            return None
        values = trace.y[np.isfinite(trace.y)]
        if not len(values) or values.min() < 0 or values.max() > 100:
            return None
        return values if values.max() <= 1 else values / 100

    @property
    def metric_improves(self) -> bool:
        """Whether the metric improves, clearly and by a fifth, whatever the loss does."""
        if self.metric is None or len(self.metric.levels) < 5:
            return False
        found = self.metric.trend()
        return found.falls(0.01) and abs(found.change) > 0.2 * self.metric.size

    @property
    def begins_late(self) -> bool:
        """Whether the log is an excerpt that begins in the middle of a run."""
        curve = self.fitted
        if curve is None or len(curve) < 2 or self.run.x_label in (LINE, POINT):
            return False
        step = float(np.median(np.abs(np.diff(curve.x))))
        return bool(curve.x[0] > 3 * max(step, 1.0) and curve.x[0] > 0.1 * curve.x[-1])

    def rate(self) -> NDArray[np.float64] | None:
        """The learning rate, finite and at least three values of it."""
        trace = self.run.lr
        if trace is None:
            return None
        values = trace.y[np.isfinite(trace.y)]
        return values if len(values) >= 3 else None


def once(sentence: str) -> str:
    """A sentence in which two levels are medians of last values says so at the second, for both."""
    head, found, tail = sentence.rpartition(_MEDIAN)
    return f"{head.replace(_MEDIAN, '')} (medians of the last values){tail}" if found and _MEDIAN in head else sentence


def place(x_label: str, x: float) -> str:
    """A place on an x axis in words: ``epoch 11``, ``step 1200000``, ``line 31 of the file``, ``8 in column 1``."""
    value = f"{x:.0f}" if float(x).is_integer() else f"{x:.6g}"
    label = x_label.strip("_ ").lower()
    if label.startswith("column "):
        return f"{value} in {label}"
    counted, _, of = label.partition(" of ")
    return f"{counted} {value}{' of ' if of else ''}{of}"


def _curve(trace: Trace | None, *, higher: bool = False) -> Curve | None:
    return None if trace is None else Curve.of(trace.x, trace.y, higher_is_better=higher)
