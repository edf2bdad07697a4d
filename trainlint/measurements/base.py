"""The base of every measurement, and what stands in its place when it could not be made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Measurement", "Unmeasured"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Frozen evidence about one aspect of a run."""

    name: ClassVar[str] = ""
    """How evidence files and reports call it."""


#: How the reason begins where only time was lacking.
OUT_OF_BUDGET = "the budget"


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A measurement that could not be made; rules that require it become *not run* with this reason."""

    name: str
    reason: str
    """A sentence for the user."""
    broken: bool = False
    """Whether the probe itself failed, rather than the run having nothing to measure."""
