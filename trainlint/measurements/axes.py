"""Axes: reshapes that were meant to swap some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["AxisOrder", "Reshape"]


@dataclass(frozen=True, kw_only=True)
class Reshape:
    """One reshape whose result has the sizes of its input's axes in another order."""

    operation: str = ""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    opened: tuple[int, ...] = ()
    """The shape with all axes apart, in the order in which they lie in memory."""
    order: tuple[int, ...] = ()
    """The permutation of those that gives the result's order."""
    reader: str = ""
    """The operation that reads the result by its axes."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class AxisOrder(Measurement):
    """The reshapes of the recorded step."""

    name: ClassVar[str] = "axis_order"
    reshapes: int = 0
    """All of them."""
    slips: tuple[Reshape, ...] = ()
    """Those that read memory in another order of axes than it was written in, one for each line, in order."""
