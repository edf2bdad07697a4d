"""The one way for a probe to say that there is nothing to measure."""

from __future__ import annotations

__all__ = ["CannotMeasureError"]


class CannotMeasureError(Exception):
    """A measurement does not apply to this run, or cannot be made; the message is the reason shown to the user."""
