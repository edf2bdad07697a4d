"""Curves of a whole run, which a scan of a few steps never sees."""

from __future__ import annotations

from trainlint.measurements import Curves
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_curves"]


def measure_curves(recording: Recording, deadline: float, settings: Settings) -> Curves:
    """Say that there are none."""
    msg = "no full run was watched: a scan sees a few steps only. `trainlint curves LOG` judges the log of a run"
    raise CannotMeasureError(msg)
