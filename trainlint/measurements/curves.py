"""The curves of whole runs, read from a log or watched to the end, with the shape that was made out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from trainlint.details import Series
from trainlint.measurements.base import Measurement

__all__ = ["CurveRun", "Curves"]


@dataclass(frozen=True, kw_only=True)
class CurveRun:
    """One training from its first to its last logged step."""

    name: str = ""
    """What tells it from other runs of the same log; empty for the only one."""
    shape: str
    """A key of :data:`trainlint.curves.shapes.SHAPES`."""
    also: tuple[str, ...] = ()
    """Other shapes of which there are signs, the worse first."""
    summary: str = ""
    """One sentence with the numbers the shape rests on."""
    evidence: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    first_action: str = ""
    not_this: str = ""
    """What the shape is easily mistaken for, and how it differs."""
    columns: dict[str, str | None] = field(default_factory=dict)
    """``train``, ``val``, ``metric``, ``lr``: names of the columns taken, joined by ``+`` where they were summed."""
    charts: tuple[Series, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curves(Measurement):
    """The runs of one log, in its order."""

    name: ClassVar[str] = "curves"
    file: str = ""
    format: str = ""
    """What the log was read as, such as ``lightning-csv`` or ``tensorboard``; ``history`` for numbers that were handed over."""
    runs: tuple[CurveRun, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader passed over or assumed."""
