"""Curves in one line of a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from trainlint.details import Line, Series

__all__ = ["Axis", "sparklines"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE = 5.0
"""Largest over smallest value from which a curve is seen on a log scale."""
_FLAT = 1e-3
"""A range below this share of the level is drawn as a level line: magnified noise looks like a fall."""


@dataclass(frozen=True)
class Axis:
    """Which character of a line a place on the x axis falls on. Every value has as much room as the next is away, the last one too."""

    begins: float
    ends: float
    width: int

    @classmethod
    def of(cls, chart: Series, width: int) -> Axis:
        """The axis that the lines of a chart share: from the first value to one step of the finest line beyond the last."""
        places = [x for line in chart.lines for x in line.x]
        steps = [step for line in chart.lines if (step := _step(line)) > 0]
        return cls(min(places, default=0.0), max(places, default=0.0) + min(steps, default=0.0), width)

    def at(self, x: float) -> int:
        """The character, counted from 0."""
        share = (x - self.begins) / ((self.ends - self.begins) or 1.0)
        return min(max(int(share * self.width), 0), self.width - 1)


def _step(line: Line) -> float:
    """How far the values of a line usually are apart."""
    return median(b - a for a, b in pairwise(line.x)) if len(line.x) > 1 else 0.0


def sparklines(chart: Series, width: int) -> list[tuple[str, str, float, float]]:
    """For each line of a chart: its name, its curve in ``width`` characters on a scale common to all, its first and its last value.

    Outliers are cut off at the scale's ends; ``×`` stands where a value is not finite, a blank where there is none.
    """
    shown = sorted(y for line in chart.lines for y in line.y if math.isfinite(y))
    if not shown:
        return [(line.name, "×" * min(width, len(line.y)), math.nan, math.nan) for line in chart.lines]
    low, high = shown[0], shown[min(int(0.98 * len(shown)), len(shown) - 1)]
    axis = Axis.of(chart, width)
    log = chart.log_y and all(_is_wide(line) for line in chart.lines)  # else the narrow one would be a level line
    drawn = []
    for line in chart.lines:
        finite = [y for y in line.y if math.isfinite(y)]
        cells = _cells(line, axis)
        text = "".join(_block(cell, low, high, log=log) for cell in cells)
        drawn.append((line.name, text, finite[0] if finite else math.nan, line.y[-1] if line.y else math.nan))
    return drawn


def _is_wide(line: Line) -> bool:
    finite = [y for y in line.y if math.isfinite(y)]
    return not finite or max(finite) > _WIDE * min(finite)


def _cells(line: Line, axis: Axis) -> list[Sequence[float]]:
    """The values that fall on each character; a character between two points takes on the one before it."""
    cells: list[list[float]] = [[] for _ in range(axis.width)]
    for x, y in zip(line.x, line.y, strict=True):
        cells[axis.at(x)].append(y)
    filled = [i for i, cell in enumerate(cells) if cell]
    if filled:
        beyond = line.x[-1] + _step(line)
        filled.append(axis.width if beyond >= axis.ends else axis.at(beyond))
    for before, after in pairwise(filled):
        for i in range(before + 1, after):
            cells[i] = cells[before][-1:]
    return list(cells)


def _block(cell: Sequence[float], low: float, high: float, *, log: bool) -> str:
    if not cell:
        return " "
    finite = [y for y in cell if math.isfinite(y)]
    if not finite:
        return "×"
    value = max(finite) if max(finite) > high else sorted(finite)[len(finite) // 2]
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return _BLOCKS[3]
    if log and low > 0:
        value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
    share = (min(max(value, low), high) - low) / (high - low)
    return _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]
