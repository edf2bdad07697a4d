"""Which rows of a contrastive loss are views of one sample, and which rows it takes for them."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.location import Location

__all__ = ["ViewPairs"]


@dataclass(frozen=True)
class ViewPairs:
    """Of a loss that compares two views of each sample with each other."""

    looked_at: int
    """Rows whose other view is known."""
    apart: int
    """Of them, those that the loss pairs with a row of another sample."""
    rows: int
    row: int = 0
    """One of them."""
    view: int = 0
    """The other view of its sample."""
    paired: int = 0
    """The row that the loss takes for it."""
    where: Location | None = None
    """The line that makes the targets."""
