"""The settings of one run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to check and how long it may take."""

    select: tuple[str, ...] = ()
    """Rules by name, code or code prefix; all when empty."""
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"
    """``error``, ``warning``, ``note`` or ``never``: the least severity that makes the exit code 1."""
    budget: float = 120.0
    """Seconds for recording and probing together, torch's import not counted."""
    seed: int | None = None
    """Seed of the probes' own randomness; the script's own seeding is never touched."""
    steps: int = 6
    """Optimizer steps to record before the probes start, when the script takes that many."""
    train_batches: int = 6
    """Training batches an epoch is cut to, more when gradients accumulate."""
    val_batches: int = 2
    """Validation batches a pass is cut to."""
