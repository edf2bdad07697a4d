"""What a few recorded steps of one process cannot show; `trainlint watch` can."""

from __future__ import annotations

from trainlint.measurements import Ranks, WatchedRun
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_ranks", "measure_watched_run"]


def measure_watched_run(recording: Recording, deadline: float, settings: Settings) -> WatchedRun:
    """Never: a scan ends after a few steps."""
    msg = "only a whole run shows this: `trainlint watch SCRIPT`"
    raise CannotMeasureError(msg)


def measure_ranks(recording: Recording, deadline: float, settings: Settings) -> Ranks:
    """Never: a scan runs one process."""
    msg = "only several processes show this: `torchrun --nproc-per-node 2 -m trainlint watch SCRIPT`"
    raise CannotMeasureError(msg)
