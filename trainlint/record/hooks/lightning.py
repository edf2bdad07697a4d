"""Lightning's loop: what it does after the last batch that it counted on it does where an epoch is cut short, too."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder

__all__ = ["LightningHooks"]

_LOOPS = ("lightning.pytorch.loops.training_epoch_loop", "pytorch_lightning.loops.training_epoch_loop")


class LightningHooks:
    """The script imports Lightning, under one of its two names, so its loop is looked for when a pass over a loader begins."""

    def __init__(self, recorder: Recorder, replace: Replace) -> None:
        self.recorder = recorder
        self.replace = replace
        self.hooked: list[type] = []

    def look(self) -> None:
        """Hook the loops that have been imported by now."""
        for name in _LOOPS:
            loop = getattr(sys.modules.get(name), "_TrainingEpochLoop", None)
            if loop is not None and loop not in self.hooked:
                self.hooked.append(loop)
                self.replace(loop, "_should_check_val_fx", self._validating(loop._should_check_val_fx))
                self.replace(loop, "update_lr_schedulers", self._scheduling(loop.update_lr_schedulers))

    def _validating(self, should_check: Callable[..., bool]) -> Callable[..., bool]:
        """It validates after the last batch that it counted on; an epoch that is cut short ends earlier."""

        @functools.wraps(should_check)
        def checks(loop: Any, *args: Any) -> bool:
            return should_check(loop, *args) or (self.recorder.ends_here() and loop._should_check_val_epoch())

        return checks

    def _scheduling(self, update: Callable[..., None]) -> Callable[..., None]:
        """It steps schedules of epochs after the last batch that it counted on, right after those of steps."""

        @functools.wraps(update)
        def updated(loop: Any, interval: str, update_plateau_schedulers: bool) -> None:
            update(loop, interval, update_plateau_schedulers)
            self._note_configured(loop.trainer)
            if interval == "step" and not update_plateau_schedulers and self.recorder.ends_here() and not loop._num_ready_batches_reached():
                update(loop, "epoch", update_plateau_schedulers)

        return updated

    def _note_configured(self, trainer: Any) -> None:
        """Tell which schedules it steps, whether only now and then, and which method of the user's does it where there is one."""
        if not self.recorder.on:
            return
        code = getattr(type(trainer.lightning_module).lr_scheduler_step, "__code__", None)
        place = None
        if code is not None and self.recorder.frames.is_user(code.co_filename):
            place = (code.co_filename, code.co_firstlineno, code.co_name)
        for config in trainer.strategy.lr_scheduler_configs:
            self.recorder.scheduler_configured(config.scheduler, place, seldom=config.frequency > 1 or config.reduce_on_plateau)
