"""What is known of a recorded loop so far, and what all its listeners share."""

from __future__ import annotations

import functools
import os
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainlint.record.frames import Frames, Place
from trainlint.record.recording import Recording
from trainlint.record.retained import Marks
from trainlint.record.seen import Batch, Call, Happening, Iteration, Loader, OptimizerSeen, SchedulerSeen
from trainlint.record.tapewriter import TapeWriter
from trainlint.record.verify import TapeKeeper
from trainlint.settings import Settings

__all__ = ["BARE", "MEASURED_STEPS", "Books", "StopRecording", "guarded"]

#: Optimizer steps whose gradients and updates are measured per parameter.
MEASURED_STEPS = 8
#: Steps (counted from 0) that run bare, to time them.
BARE = (3, 4)

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B", bound="Books")


def guarded(method: Callable[Concatenate[B, P], R]) -> Callable[Concatenate[B, P], R | None]:
    """A listener that fails stops listening; the user's script goes on as if it were alone."""

    @functools.wraps(method)
    def listen(self: B, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.enabled = False
            self.writer.stop()
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            self.recording.notes.append(
                f"recording stopped early by a fault of trainlint's own ({type(error).__name__}: {error}, {where}); please report it"
            )
            return None

    return listen


class StopRecording(BaseException):
    """Ends the user's script once enough was seen. Not an Exception, so that ``except Exception`` lets it through."""


class Books:
    """The state of one recording. ``on_finish`` is called, once, when enough was seen; then the script is stopped."""

    def __init__(self, settings: Settings, frames: Frames, on_finish: Callable[[Recording], None] | None = None) -> None:
        self.settings = settings
        self.frames = frames
        self.writer = TapeWriter(frames)
        self.recording = Recording(frames, self.writer.provenance)
        self.keeper = TapeKeeper(self.recording, self.writer)
        self.marks = Marks(frames)
        self.on_finish = on_finish
        self.on_progress: Callable[[str], None] = lambda text: None
        self.enabled = True
        self.finished = False
        self.resting = False
        """An earlier training runs on, unobserved, until the next one builds its optimizer."""
        self.goes_on = False
        """Another training follows the one that was just recorded."""
        self.trainings = 1
        self.most_trainings = 1
        """Trainings of one script that are recorded."""
        self.begun = time.monotonic()
        """When the loop was first seen to run: imports and the preparation of data cost none of the budget."""
        self._running = False
        self.depth = 0
        self._pid = os.getpid()
        self._loaders: weakref.WeakKeyDictionary[DataLoader[Any], Loader] = weakref.WeakKeyDictionary()
        self._current: list[Iteration] = []
        self._optimizers: dict[int, OptimizerSeen] = {}
        self._schedulers: dict[int, SchedulerSeen] = {}
        self._mode_layers: dict[int, list[nn.Module]] = {}
        self._recent: list[Call] = []
        self._scale = 1.0
        self._scaled = False
        self._last_batch: Batch | None = None
        self._handed: list[tuple[Batch | None, dict[str, Tensor]]] = []
        self._was_writing = False
        self._verifying = False
        """A tape is being replayed: what it calls is not the loop's."""
        self._in_closure = False
        self._last_step_backward = 0
        self._taped = 0
        """backward() calls before the latest call of a model."""
        self._step_ended: float | None = None
        self._pending_inputs: list[tuple[str, Tensor]] = []
        self._used_places: set[Place] = set()

    @property
    def on(self) -> bool:
        """Whether to look at all: not in a forked child, not while probing or resting, not under tracing."""
        return not self.resting and self.awake

    @property
    def awake(self) -> bool:
        """Whether to look at what is built: also while resting."""
        return self.enabled and os.getpid() == self._pid and torch._C._get_tracing_state() is None

    @property
    def current(self) -> Iteration | None:
        """The loader pass that gave the latest batch."""
        return self._current[-1] if self._current else None

    def note(self, kind: str, subject: str = "", place: Place | None = None, **info: Any) -> int:
        """Write an event down and return its number."""
        self.recording.happenings.append(Happening(kind, place or self.frames.here(), subject, self.current, info))
        return len(self.recording.happenings) - 1

    @property
    def steps_done(self) -> int:
        """Optimizer steps so far."""
        return sum(len(o.steps) for o in self.recording.optimizers)

    def _start_tape(self) -> None:
        if self.keeper.wants_tape(self.steps_done) and self.steps_done not in BARE:
            self.writer.start([leaves for _, leaves in self._handed])
        else:
            self.writer.stop()
