"""Follows a training loop: told by the hooks what happens, it keeps the books and says when enough was seen."""

from __future__ import annotations

from collections.abc import Callable

from trainlint.record.frames import Frames
from trainlint.record.listeners.books import StopRecording
from trainlint.record.listeners.optimizers import OptimizerListener
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["Recorder", "StopRecording"]


class Recorder(OptimizerListener):
    """Everything that the hooks tell, in one place: loaders, models, losses and gradients, optimizers and schedulers.

    Each layer (``listeners/``) adds one kind of thing to the books of the one before.
    """

    def __init__(self, settings: Settings, frames: Frames, on_finish: Callable[[Recording], None] | None = None) -> None:
        super().__init__(settings, frames, on_finish)
        self.writer.on_loss = self.loss_called
