"""The books of a watched run: told by the hooks what happens, it samples within its budget and keeps a few numbers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from trainlint.watching.books import Pass, guarded
from trainlint.watching.steps import StepListener

__all__ = ["Monitor", "Pass", "StopTraining"]


class StopTraining(BaseException):
    """Ends a doomed run. Not an Exception, so that ``except Exception`` lets it through."""


class Monitor(StepListener):
    """Everything that the hooks tell, in one place: passes, models, losses, steps, and what the program logs itself."""

    @guarded
    def log(self, values: dict[str, float]) -> None:
        """Values that the program hands over itself: a validation loss, an accuracy."""
        if "val_loss" in values:
            self.history.add({"step": self.steps, "epoch": self.epoch, "seconds": self.seconds, **values})
        else:
            self._fresh.update(values)

    @guarded
    def finish(self) -> None:
        """The run is over: close what is open."""
        self._end_look()
        self.origins.end()
        for entry in list(self._running):
            if entry.backwards:
                self.running = entry.batches
            self._finish(entry, complete=False)
        if self._losses and self.broken is None:
            values = [float(v) for v in self._losses]
            self._losses.clear()
            self.history.add({"step": self.steps, "epoch": self.epoch, "seconds": self.seconds, "loss": sum(values) / len(values)})
            for value in values:
                self._check(value)
        self.enabled = False

    def models(self) -> Iterable[nn.Module]:
        """Models that were seen to train."""
        return self.origins.models
