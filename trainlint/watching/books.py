"""What a watched run is known to have done so far, and what all its listeners share."""

from __future__ import annotations

import functools
import math
import os
import statistics
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from trainlint.measurements import Fingerprint, NonFinite, ValidationPass
from trainlint.record.frames import Frames
from trainlint.record.frames import Place as CodePlace
from trainlint.watching.gauges import Gauge, UpdateRatio, resident_bytes
from trainlint.watching.history import History
from trainlint.watching.look import Call, Look, Silence
from trainlint.watching.origin import Origins
from trainlint.watching.ranks import Place

__all__ = ["Books", "Pass", "guarded"]

#: Shares of the run's time that readings may take: rows of the history with the gradient norm, update ratios, sampled steps.
_ROWS, _RATIOS, _LOOKS = 0.004, 0.001, 0.001

P = ParamSpec("P")
R = TypeVar("R")
B = TypeVar("B", bound="Books")


def guarded(method: Callable[Concatenate[B, P], R]) -> Callable[Concatenate[B, P], R | None]:
    """A listener that fails stops listening; the user's run goes on as if it were alone."""

    @functools.wraps(method)
    def listen(self: B, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        if not self.on:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.enabled = False
            self._end_look()
            self.origins.end()
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            self.notes.append(
                f"watching ended at step {self.steps} by a fault of trainlint's own ({type(error).__name__}: {error}, {where}); please report it"
            )
            return None

    return listen


@dataclass(eq=False)
class Pass:
    """One pass over a DataLoader."""

    loader: weakref.ref[DataLoader[Any]]
    number: int
    place: CodePlace | None
    built: CodePlace | None
    batches: int = 0
    backwards: int = 0
    finished: bool = False
    call: Call | None = None
    """The first call of a model in it."""
    losses: list[tuple[int, float, int]] = field(default_factory=list)
    """(batch, value, samples) of each loss computed before any backward()."""
    sampler: DistributedSampler[Any] | None = None
    sampler_epoch: int | None = None


class Books:
    """The state of the watch. ``on_news`` is called after a step when measurements may have changed enough to be judged again."""

    def __init__(self, history: History, frames: Frames, place: Place | None = None) -> None:
        self.history = history
        self.frames = frames
        self.rank = place or Place(0, 1, "")
        self.on_news: Callable[[bool], None] = lambda urgent: None
        self.enabled = True
        self.begun = time.monotonic()
        self.origins = Origins(frames)
        self.silence = Silence()
        self.notes: list[str] = []
        # the run
        self.steps = self.epochs = 0
        self.stepped: list[int] = []
        """ids of the optimizers that stepped; the first is the main one."""
        self.loop: CodePlace | None = None
        self.optimizer_place: CodePlace | None = None
        self.loader_place: CodePlace | None = None
        self.device: torch.device | None = None
        self.broken: NonFinite | None = None
        self.memory: list[tuple[int, int]] = []
        self.waited = self.stepping = 0.0
        # modes
        self.train_looks = self.eval_looks = 0
        self.eval_call: Call | None = None
        self.eval_epoch: int | None = None
        self.off_call: Call | None = None
        self.eval_set: CodePlace | None = None
        self.mode_dependent: dict[str, None] = {}
        self.validation: list[ValidationPass] = []
        # ranks
        self.joined = self.sharded = False
        self.shapes = ""
        self.fingerprints: list[Fingerprint] = []
        self.inputs: list[str] = []
        self.batches: list[int] = []
        self.sampler_epochs: list[int] = []
        self.shuffles = False
        self.running = 0
        # working state
        self._pid = os.getpid()
        self._places: weakref.WeakKeyDictionary[Any, CodePlace | None] = weakref.WeakKeyDictionary()
        self._trained: set[int] = set()
        self._numbers: weakref.WeakKeyDictionary[DataLoader[Any], int] = weakref.WeakKeyDictionary()
        self._training_loaders: weakref.WeakSet[DataLoader[Any]] = weakref.WeakSet()
        self._running: list[Pass] = []
        self.current: Pass | None = None
        self._look: Look | None = None
        self._look_steps = Gauge(_LOOKS, at_least=2)
        self._rows, self._ratios = Gauge(_ROWS), Gauge(_RATIOS, at_least=4)
        self._ratio: UpdateRatio | None = None
        self._parameters: list[Tensor] = []
        self._groups = 0
        self._losses: list[Tensor | float] = []
        self._unscaled: Tensor | None = None
        self._in_a_row = 0
        self._last_loss = self._finite_loss = math.nan
        self._norm: float | None = None
        self._clipped: float | None = None
        self._clips = False
        self._fresh: dict[str, float] = {}
        self._recent: deque[float] = deque(maxlen=31)
        self._step_ended: float | None = None
        self._waiting, self._elsewhere = 0.0, False
        self._kept: deque[Any] = deque(maxlen=2)
        self._row_seconds = self._ratio_seconds = 0.0

    @property
    def on(self) -> bool:
        """Whether to listen: not in a forked worker."""
        return self.enabled and os.getpid() == self._pid

    @property
    def step_seconds(self) -> float | None:
        """Median time of the last steps."""
        return statistics.median(self._recent) if self._recent else None

    @property
    def quickest(self) -> float | None:
        """Least time of the last steps: what a reading is weighed against, whose own least time counts too on a busy machine."""
        return min(self._recent) if self._recent else None

    @property
    def epoch(self) -> int:
        """Number of the training pass, counted from 1; 0 in a loop without a loader."""
        current = self.current
        return max(self.epochs, current.number + 1 if current is not None and current.backwards else self.epochs)

    @property
    def seconds(self) -> float:
        """Since the watch began."""
        return round(time.monotonic() - self.begun, 3)

    def _begin_look(self, *, whole: bool) -> None:
        self._end_look()
        self._look = Look(self.frames, self.silence, whole=whole, stack=self.origins.writer.modules if whole else None)

    def _end_look(self) -> list[Call]:
        look, self._look = self._look, None
        if look is None:
            return []
        look.end()
        if look.whole:
            self._look_steps.spent(self.steps, look.seconds, self.quickest)
        current = self.current
        if current is not None and current.call is None and look.calls:
            current.call = look.calls[0]
        return look.calls

    def _read_memory(self) -> None:
        held = resident_bytes(self.device)
        if held is not None and len(self.memory) < 10_000:
            self.memory.append((self.steps, held))
            self._fresh["memory"] = float(held)
