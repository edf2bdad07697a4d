"""Graphs that outlive their step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["Retained"]


@dataclass(frozen=True, kw_only=True)
class Retained(Measurement):
    """The most graphs of earlier steps that were alive at once, and the size of each step's graph."""

    name: ClassVar[str] = "retained"
    kind: str = ""
    """What holds a graph that lives on: ``loss`` or ``outputs``."""
    alive: int = 0
    """Graphs made at one place in earlier steps that are alive when the next is made."""
    made: int = 0
    """Graphs made there in all."""
    variable: str = ""
    """Variable that holds them, as the script writes it; empty when it was not found."""
    listed: bool = False
    """It is a container of tensors; else one tensor whose graph grows."""
    added: bool = True
    """A line was found that adds to it."""
    where: Location | None = None
    """Line that adds to the variable, else the call of backward() or of the model."""
    nodes: tuple[int, ...] = ()
    """Nodes of the graph of each backward() call at the place where it grows most."""
    backward_where: Location | None = None
    """That place."""
