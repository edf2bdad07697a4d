"""Axes: reshapes that were meant to swap some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["AxisOrder", "ColourOrder", "Reshape"]


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


@dataclass(frozen=True, kw_only=True)
class ColourOrder(Measurement):
    """How a probe fitted on training pictures fares on validation's with their three channels as they come and in the best other order."""

    name: ClassVar[str] = "colour_order"
    samples: int = 0
    """Validation samples asked; 0 where there are no such pictures, or the parts cannot be compared."""
    kind: str = ""
    """``classes`` (scores are balanced accuracies), or ``values`` and ``flags`` (correlations)."""
    expected: float = 0.0
    """Held-out score in training."""
    as_given: float = 0.0
    order: tuple[int, ...] = ()
    """The order of channels with the best score, (2, 1, 0) for the reverse; empty where validation is fine as it is, or the probe knows too little."""
    reordered: float = 0.0
    """The score in that order."""
    renamed: float | None = None
    """The best score under renamed classes, channels as they come."""
    z: float = 0.0
    """How much better samples are told in that order, in standard errors of the paired difference."""
    where: Location | None = None
    """Where validation pictures come into the dataset's code, if not where training's do; else where they were made."""
