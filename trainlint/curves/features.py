"""Robust statistics of one curve: level, noise, fall, trend. Scale-free: what is compared is always a ratio of two of them.

A curve is first reduced to at most :data:`LEVELS` levels, the medians of equal stretches, so that batch noise averages out, a
handful of outliers changes nothing, and every test costs the same however long the log is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "Curve", "Trend"]

Numbers = NDArray[np.float64]

LEVELS = 60
_TINY = 1e-300
#: Standard deviation of normal noise over the median absolute second difference.
_SECOND_DIFFERENCE = 1.4826 / math.sqrt(6)


@dataclass(frozen=True)
class Trend:
    """Which way a stretch goes: Theil-Sen change from its one end to the other, and the p-value of Kendall's tau (Mann-Kendall test)."""

    change: float
    p: float
    points: int

    def falls(self, p: float = 0.05) -> bool:
        """Whether it goes down and chance hardly explains that."""
        return self.change < 0 and self.p < p

    def rises(self, p: float = 0.05) -> bool:
        """Whether it goes up and chance hardly explains that."""
        return self.change > 0 and self.p < p


@dataclass(frozen=True)
class Curve:
    """A curve for which lower is better, without its values that are not finite."""

    x: Numbers
    y: Numbers

    @classmethod
    def of(cls, x: Numbers, y: Numbers, *, higher_is_better: bool = False) -> Curve | None:
        """The curve of a trace; None when nothing in it is finite."""
        finite = np.isfinite(y) & (np.abs(y) < 1e300)
        if not finite.any():
            return None
        return cls(x[finite], -y[finite] if higher_is_better else y[finite])

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Where stretches begin."""
        return np.linspace(0, len(self.y), min(len(self.y), LEVELS) + 1).astype(np.int64)

    @cached_property
    def levels(self) -> Numbers:
        """Medians of equal stretches; the values themselves when there are few."""
        return np.array([np.median(self.y[a:b]) for a, b in pairwise(self.edges)])

    @cached_property
    def smooth(self) -> Numbers:
        """The levels through a running median over a tenth of them; few levels as they are."""
        size = len(self.levels)
        if size < 8:
            return self.levels
        from scipy.ndimage import median_filter

        width = max(3, size // 10 | 1)
        filtered: Numbers = median_filter(self.levels, size=width, mode="nearest")
        filtered[0] = self.levels[0]  # the fall from the very first value is real
        return filtered

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the levels around their trend, from second differences, which a trend hardly enters."""
        if len(self.levels) < 5:
            return 0.0
        return float(np.median(np.abs(np.diff(self.levels, 2))) * _SECOND_DIFFERENCE)

    @property
    def start(self) -> float:
        """The first level."""
        return float(self.levels[0])

    @cached_property
    def best(self) -> float:
        """The lowest smoothed level."""
        return float(self.smooth.min())

    @cached_property
    def best_at(self) -> float:
        """Where the lowest smoothed level first stands, as a share of the run."""
        return float(np.argmin(self.smooth)) / max(len(self.smooth) - 1, 1)

    @cached_property
    def _best_index(self) -> int:
        # The running median is level around its minimum: the lowest level nearby is meant.
        middle, reach = int(np.argmin(self.smooth)), len(self.levels) // 10
        first = max(middle - reach, 0)
        i = first + int(np.argmin(self.levels[first : middle + reach + 1]))
        a, b = int(self.edges[i]), int(self.edges[i + 1])
        return a + int(np.argmin(self.y[a:b]))

    @property
    def best_x(self) -> float:
        """Place on the x axis of the lowest value within the stretch of the lowest level."""
        return float(self.x[self._best_index])

    @property
    def best_y(self) -> float:
        """The value there, as it was logged."""
        return float(self.y[self._best_index])

    @cached_property
    def end(self) -> float:
        """The level of the last tenth, of the last value when there are few."""
        return float(np.median(self.smooth[-max(1, len(self.smooth) // 10) :]))

    @property
    def fall(self) -> float:
        """From the first level to the lowest; never negative."""
        return max(self.start - self.best, 0.0)

    @property
    def relative_fall(self) -> float:
        """The fall over the first level; over the whole range when the curve is not positive."""
        return self.fall / (abs(self.start) if self.positive else max(float(np.ptp(self.levels)), _TINY)) if self.fall else 0.0

    @cached_property
    def positive(self) -> bool:
        """Whether every value is above zero, so that ratios and logarithms mean something."""
        return bool(self.y.min() > 0)

    @property
    def size(self) -> float:
        """A typical magnitude."""
        return max(float(np.median(np.abs(self.levels))), _TINY)

    def trend(self, begin: float = 0.0, end: float = 1.0) -> Trend:
        """The trend of the levels between two shares of the run."""
        size = len(self.levels)
        part = self.levels[int(begin * (size - 1) + 0.5) : int(end * (size - 1) + 0.5) + 1]
        return trend(part)

    def part(self, begin: float, end: float = 1.0) -> Numbers:
        """Smoothed levels between two shares of the run."""
        size = len(self.smooth)
        return self.smooth[int(begin * (size - 1) + 0.5) : int(end * (size - 1) + 0.5) + 1]

    def roughness(self, begin: float = 0.6) -> float:
        """Noise of the levels from a share of the run on, over their magnitude: of logarithms where they are positive."""
        size = len(self.levels)
        part = self.levels[int(begin * (size - 1) + 0.5) :]
        if len(part) < 5:
            return 0.0
        values = np.log(part) if self.positive else part / self.size
        return float(np.median(np.abs(np.diff(values, 2))) * _SECOND_DIFFERENCE)


def trend(values: Numbers) -> Trend:
    """Theil-Sen change over a stretch and Kendall's p-value; p is 1 for fewer than three values or equal ones."""
    if len(values) < 3 or np.ptp(values) == 0:
        return Trend(0.0, 1.0, len(values))
    from scipy.stats import kendalltau, theilslopes

    order = np.arange(len(values))
    slope = float(theilslopes(values, order)[0])
    p = float(kendalltau(order, values).pvalue)
    return Trend(slope * (len(values) - 1), p if math.isfinite(p) else 1.0, len(values))
