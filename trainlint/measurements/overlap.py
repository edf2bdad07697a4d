"""Samples that validation shares with training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement
from trainlint.measurements.loop import CarriedOver

__all__ = ["Shared", "SplitOverlap"]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What one validation loader shares with the training loader that ran before it."""

    where: Location | None = None
    """Where validation was split from what training is made of too, as far as the source tells, else where it was built."""
    how: str
    """``loader`` (the same loader object), ``dataset`` (the same samples of one dataset), ``indices`` (samples of one dataset), ``content``."""
    train_total: int
    val_total: int
    train_read: int
    val_read: int
    found: int
    """Validation samples, of those read, that are training samples too."""
    waiting: bool = False
    """The script has not come to use this loader yet, so that it may be for something else than validation."""
    repeated: float = 0.0
    """Share of the training samples read that occur there more than once."""
    distinct: float = 0.0
    """Different numbers against different samples, at the place of a sample where they differ most; near 1 for measured numbers."""
    different: float = 0.0
    """Different training samples against those read."""
    pictures: bool = False
    """Samples have two axes of eight or more."""
    poor: int = 0
    """Validation samples with so little content that equal ones mean nothing; not compared."""
    size: int = 0
    """Median bytes of a sample, compressed."""
    examples: tuple[tuple[int, int], ...] = ()
    """(validation index, training index), at most 12."""
    windows: int = 0
    """Validation windows of a series that were looked at for steps they share with training windows; 0 for other data."""
    overlapping: int = 0
    """Of these, those that share half of their steps with one training window."""


@dataclass(frozen=True, kw_only=True)
class SplitOverlap(Measurement):
    """Whether validation holds training samples."""

    name: ClassVar[str] = "split_overlap"
    pairs: tuple[Shared, ...] = ()
    carried: CarriedOver | None = None
    reason: str = ""
    """Why some pair could not be compared."""
