"""Finds the lines of a dataset's own code that draw random numbers while a sample is read."""

from __future__ import annotations

import random
import sys
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch

from trainlint.probes.datasets import Samples
from trainlint.record.frames import Frames, Place

__all__ = ["lines_that_draw"]

#: Samples read: a transform may draw for some only.
_SAMPLES = 4


def lines_that_draw(samples: Samples, frames: Frames) -> list[Place]:
    """Lines of the user's outermost function on the way to a sample, in order, during which a generator moved on."""
    if sys.gettrace() is not None:  # a debugger's or a coverage tool's
        return []
    watch = _Watch(frames)
    try:
        for index in list(samples.pool[:_SAMPLES]):
            sys.settrace(watch.enter)
            samples.raw(index)
            sys.settrace(None)
    except Exception:
        return []
    finally:
        sys.settrace(None)
    return sorted(watch.found, key=lambda place: place[1])


class _Watch:
    """A trace function for the first user function that is entered."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.code: CodeType | None = None
        self.found: set[Place] = set()
        self.line = 0
        self.state: Any = None

    def enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Take the first user function that is called, and no other."""
        code = frame.f_code
        if self.code is None and self.frames.is_user(code.co_filename):
            self.code = code
        if code is not self.code:
            return None
        self.line, self.state = frame.f_lineno, _state()
        return self.step

    def step(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Compare generators after each of its lines."""
        now = _state()
        if now != self.state:
            self.found.add((frame.f_code.co_filename, self.line, frame.f_code.co_name))
        self.line, self.state = frame.f_lineno, now
        return self.step


def _state() -> tuple[Any, ...]:
    legacy = np.random.get_state(legacy=False)
    return bytes(torch.get_rng_state().numpy()), random.getstate(), legacy["state"]["pos"], legacy["state"]["key"].tobytes()
