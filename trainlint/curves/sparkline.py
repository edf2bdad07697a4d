"""Curves in one line of a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from trainlint.details import Line, Series

__all__ = ["sparklines"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE = 5.0
"""Largest over smallest value from which a curve is seen on a log scale."""
_FLAT = 1e-3
"""A range below this share of the level is drawn as a level line: magnified noise looks like a fall."""


def sparklines(chart: Series, width: int) -> list[tuple[str, str, float, float]]:
    """For each line of a chart: its name, its curve in ``width`` characters on a scale common to all, its first and its last value.

    Outliers are cut off at the scale's ends; ``×`` stands where a value is not finite, a blank where there is none.
    """
    shown = sorted(y for line in chart.lines for y in line.y if math.isfinite(y))
    if not shown:
        return [(line.name, "×" * min(width, len(line.y)), math.nan, math.nan) for line in chart.lines]
    low, high = shown[0], shown[min(int(0.98 * len(shown)), len(shown) - 1)]
    begins = min(x for line in chart.lines for x in line.x)
    ends = max(x for line in chart.lines for x in line.x)
    log = chart.log_y and all(_is_wide(line) for line in chart.lines)  # else the narrow one would be a level line
    drawn = []
    for line in chart.lines:
        finite = [y for y in line.y if math.isfinite(y)]
        cells = _cells(line, width, begins, ends)
        text = "".join(_block(cell, low, high, log=log) for cell in cells)
        drawn.append((line.name, text, finite[0] if finite else math.nan, line.y[-1] if line.y else math.nan))
    return drawn


def _is_wide(line: Line) -> bool:
    finite = [y for y in line.y if math.isfinite(y)]
    return not finite or max(finite) > _WIDE * min(finite)


def _cells(line: Line, width: int, begins: float, ends: float) -> list[Sequence[float]]:
    """The values that fall on each character; a character between two points takes on the one before it."""
    cells: list[list[float]] = [[] for _ in range(width)]
    span = (ends - begins) or 1.0
    for x, y in zip(line.x, line.y, strict=True):
        cells[min(int((x - begins) / span * width), width - 1)].append(y)
    filled = [i for i, cell in enumerate(cells) if cell]
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
