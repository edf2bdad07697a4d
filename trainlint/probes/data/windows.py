"""Windows of one series that overlap: validation windows most of whose steps stand in a training window too.

Two windows of equal length share half of their steps exactly when the first or the last half of one stands somewhere in the other. So
all halves of the validation windows are kept, and the first and last halves of the training windows are looked up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainlint.probes.data.datasets import spread
from trainlint.record.structure import tensor_leaves

__all__ = ["overlapping"]

#: Validation and training windows that are read, and steps that a window must have; longer ones are looked at in their first part.
_VALIDATION, _TRAINING, _SHORTEST, _LONGEST = 100, 4000, 16, 2048

Window = npt.NDArray[Any]


def overlapping(
    get: Callable[[int], Any], pool: Sequence[int], other: Callable[[int], Any], other_pool: Sequence[int], end: float
) -> tuple[int, int]:
    """``(overlapping, read)``: validation windows that share half of their steps with a training window; 0 read when samples are none."""
    halves: dict[bytes, set[int]] = {}
    read = 0
    for position in spread(len(other_pool), _VALIDATION):
        if read >= _VALIDATION or time.monotonic() > end:
            break
        window = _window(other(other_pool[position]))
        if window is None:
            return 0, 0
        for half in _halves(window, every=True):
            halves.setdefault(half, set()).add(read)
        read += 1
    found: set[int] = set()
    for count, position in enumerate(spread(len(pool))):
        if count >= _TRAINING or time.monotonic() > end or len(found) == read:
            break
        window = _window(get(pool[position]))
        for half in _halves(window, every=False) if window is not None else ():
            found |= halves.get(half, set())
    return len(found), read


def _window(sample: Any) -> Window | None:
    """The series of a sample, ``(steps,)`` or ``(steps, columns)``: its largest tensor of floating numbers."""
    arrays = [t.detach().cpu().numpy() for _, t in tensor_leaves(sample) if isinstance(t, Tensor) and t.is_floating_point()]
    arrays += [v for v in (sample if isinstance(sample, list | tuple) else ()) if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    largest = max(arrays, key=lambda a: a.size, default=None)
    if largest is None or largest.ndim not in (1, 2) or len(largest) < _SHORTEST:
        return None
    return largest[:_LONGEST]


def _halves(window: Window, *, every: bool) -> Iterator[bytes]:
    """Yield the halves of a window that hold enough different numbers to mean something."""
    steps = len(window) // 2
    for first in range(len(window) - steps + 1) if every else (0, len(window) - steps):
        half = np.ascontiguousarray(window[first : first + steps])
        if len(np.unique(half)) > steps // 2:
            yield half.tobytes()
