"""Finds the lines of the user's code that draw random numbers, or change something else that is watched, while a sample is read."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch

from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.generators import Generator, state_of
from trainlint.record.frames import Frames, Place

__all__ = ["global_state", "lines_that_change", "lines_that_draw", "lines_that_draw_in", "states_of"]

#: Samples read: a transform may draw for some only.
_SAMPLES = 4
#: Lines and seconds after which no more are watched.
_LINES, _SECONDS = 5000, 2.0

State = Callable[[], Any]
Changes = list[tuple[Place, Any]]


def lines_that_draw(samples: Samples, frames: Frames) -> list[Place]:
    """Lines of the user's outermost function on the way to a sample, in order, during which a generator moved on."""
    return lines_that_draw_in([partial(samples.raw, index) for index in samples.pool[:_SAMPLES]], frames)


def lines_that_draw_in(calls: Sequence[Callable[[], object]], frames: Frames) -> list[Place]:
    """The same for what is called; empty where one of the calls fails."""
    watch = _Watch(frames, global_state, outermost=True)
    if not all(watch.during(call) for call in calls):
        return []
    return sorted({place for place, _ in watch.found}, key=lambda place: place[1])


def lines_that_change(read: Callable[[], object], frames: Frames, state: State) -> Changes:
    """Lines of the user's code, the innermost, after which ``state`` had another value while ``read`` ran, in order, each with that value.

    Empty where ``read`` fails, or a debugger or coverage tool is at work.
    """
    watch = _Watch(frames, state, outermost=False)
    return watch.found if watch.during(read) else []


class _Watch:
    """A trace function for user functions: for all of them, or for the first that is entered and no other."""

    def __init__(self, frames: Frames, state: State, *, outermost: bool) -> None:
        self.frames = frames
        self.state = state
        self.outermost = outermost
        self.code: CodeType | None = None
        self.found: Changes = []
        self.at: Place | None = None
        self.before: Any = None
        self.lines = 0
        self.spent = 0.0
        """Seconds that comparing took."""

    @property
    def tired(self) -> bool:
        """Whether enough was compared."""
        return self.lines > _LINES or self.spent > _SECONDS

    def during(self, read: Callable[[], object]) -> bool:
        """Watch while this runs; False when it cannot be watched, or fails."""
        if sys.gettrace() is not None:  # a debugger's or a coverage tool's
            return False
        self.at, self.before = None, self.state()
        try:
            sys.settrace(self.enter)
            read()
        except Exception:
            return False
        finally:
            sys.settrace(None)
        return True

    def enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Take functions of the user that are called."""
        code = frame.f_code
        if not self.frames.is_user(code.co_filename) or self.tired:
            return None
        self.code = self.code or code
        if self.outermost and code is not self.code:
            return None
        self._look(frame)
        return self.step

    def step(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Compare after each line; a return goes back to the line of the caller."""
        self._look(frame.f_back if event == "return" else frame)
        return None if self.tired else self.step

    def _look(self, frame: FrameType | None) -> None:
        begun = time.perf_counter()
        now = self.state()
        self.spent += time.perf_counter() - begun
        if self.at is not None and now != self.before:
            self.found.append((self.at, now))
        self.before, self.lines = now, self.lines + 1
        user = frame is not None and self.frames.is_user(frame.f_code.co_filename)
        self.at = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) if frame is not None and user else None


def global_state() -> dict[str, Any]:
    """What the global generators of torch, numpy and Python will draw, by name, in a form that can be compared."""
    legacy = np.random.get_state(legacy=False)
    return {
        "torch": bytes(torch.get_rng_state().numpy()),
        "numpy": (legacy["state"]["pos"], legacy["state"]["key"].tobytes()),
        "random": random.getstate(),
    }


def states_of(generators: Sequence[Generator]) -> tuple[str, ...]:
    """What these generators will draw, in a form that can be compared."""
    return tuple(_text(state_of(generator)) for generator in generators)


def _text(state: Any) -> str:
    if isinstance(state, torch.Tensor):
        return state.numpy().tobytes().hex()
    if isinstance(state, dict):
        return " ".join(_text(value) for value in state.values())
    if isinstance(state, tuple):
        return " ".join(_text(value) for value in state)
    return state.tobytes().hex() if isinstance(state, np.ndarray) else str(state)
