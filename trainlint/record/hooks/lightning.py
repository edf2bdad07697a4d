"""Lightning's loop: what it does after the last batch that it counted on it does where an epoch is cut short, too.

Where the user's module takes clipping into its own hands, it is asked whether it clips.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder

__all__ = ["LightningHooks"]

_LOOPS = ("lightning.pytorch.loops.training_epoch_loop", "pytorch_lightning.loops.training_epoch_loop")
_PRECISIONS = ("lightning.pytorch.plugins.precision.precision", "pytorch_lightning.plugins.precision.precision")
#: Names that the method which is to clip reads for what was configured; others with "clip" in them may clip, if only at times.
_CONFIGURED = {"gradient_clip_val", "gradient_clip_algorithm"}


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
        for name in _PRECISIONS:
            precision = getattr(sys.modules.get(name), "Precision", None)
            if precision is not None and precision not in self.hooked:
                self.hooked.append(precision)
                self.replace(precision, "_clip_gradients", self._clipping(precision._clip_gradients))

    def _clipping(self, clip: Callable[..., None]) -> Callable[..., None]:
        """It leaves clipping to ``configure_gradient_clipping``, which the user may have overridden without clipping in it."""

        @functools.wraps(clip)
        def clipped(precision: Any, model: Any, optimizer: Any, clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
            code = getattr(getattr(type(model), "configure_gradient_clipping", None), "__code__", None)
            listens = self.recorder.on and clip_val and model.automatic_optimization
            if code is None or not (listens and self.recorder.frames.is_user(code.co_filename)) or _may_clip(code):
                return clip(precision, model, optimizer, clip_val, gradient_clip_algorithm)
            by_norm = gradient_clip_algorithm != "value"
            before = self.recorder.size_of_gradients(optimizer, by_norm=by_norm)
            clip(precision, model, optimizer, clip_val, gradient_clip_algorithm)
            if before is not None and self.recorder.size_of_gradients(optimizer, by_norm=by_norm) == before:
                place = (code.co_filename, code.co_firstlineno, code.co_name)
                self.recorder.clip_left_out(place, float(clip_val), before, by_norm=by_norm)
            return None

        return clipped

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


def _may_clip(code: CodeType) -> bool:
    """Whether a function names something that clips, be it under a condition that did not hold yet."""
    return any("clip" in name.lower() and name not in _CONFIGURED for name in code.co_names)
