"""Answers of a model that the loss is handed in a later pass than they were given in."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.location import Location

__all__ = ["KeptAnswers"]


@dataclass(frozen=True, kw_only=True)
class KeptAnswers:
    """What a model answered to the batches of an earlier pass, used in the loss of the batches with the same numbers, of other samples."""

    model: str
    steps: int
    """Steps that used such answers."""
    samples: int
    """Samples of those steps."""
    same: int
    """Of them, those that the answers were given to."""
    where: Location | None = None
    """Where the model was called."""
    used_where: Location | None = None
    """The loop over the later pass."""
