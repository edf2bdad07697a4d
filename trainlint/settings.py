"""The settings of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAIL_ON", "Settings"]

FAIL_ON = ("error", "warning", "note", "never")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to check and how long it may take."""

    select: tuple[str, ...] = ()
    """Rules by name, code or code prefix; all when empty."""
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"
    """``error``, ``warning``, ``note`` or ``never``: the least severity that makes the exit code 1."""
    baseline: str = ""
    """File of the failures that are known and fail nothing (see :mod:`trainlint.baseline`); none when empty."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of single rules: name -> option -> value. ``severity`` is an option of every rule: the worst it may say."""
    budget: float = 120.0
    """Seconds for recording and probing together, torch's import not counted."""
    seed: int | None = None
    """Seed of the probes' own randomness; the script's own seeding is never touched."""
    prove: bool = True
    """Try the fix of each error and warning by replay."""
    compare: bool = False
    """Train the configuration as it is, with the fixes and by a reference recipe, side by side."""
    steps: int = 6
    """Optimizer steps to record before the probes start, when the script takes that many."""
    train_batches: int = 6
    """Training batches an epoch is cut to, more when gradients accumulate."""
    val_batches: int = 2
    """Validation batches a pass is cut to."""
