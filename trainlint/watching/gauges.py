"""What is sampled of a running training, and how often: each gauge may take a fixed share of the run's time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["Gauge", "UpdateRatio", "dense", "gradient_norm", "norms", "resident_bytes"]

#: Parameters of which update ratios are taken: a few, spread along the depth.
_RATIO_TENSORS = 12
#: Steps that a gauge rests at most, so that even the dearest one is read now and then.
_LONGEST_REST = 1000
#: The first readings of a run come closer together whatever they cost: the first one pays for what torch sets up once.
_FIRST_READINGS = 4


class Gauge:
    """Says when a measurement is due, so that its cost stays below ``share`` of the time that the run itself takes.

    A reading's own time is measured; the next is due when the run has gone on long enough to pay for it.
    """

    def __init__(self, share: float, *, at_least: int = 1) -> None:
        self.share = share
        self.at_least = at_least
        self.next = 0
        self.readings = 0
        self._costs: deque[float] = deque(maxlen=5)

    def due(self, step: int) -> bool:
        """Whether to read at this step."""
        return step >= self.next

    @contextmanager
    def reading(self, step: int, step_seconds: float | None) -> Iterator[None]:
        """Around a reading: sets when the next is due. ``step_seconds`` is what a step of the run takes now."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent(step, time.perf_counter() - began, step_seconds)

    def spent(self, step: int, seconds: float, step_seconds: float | None) -> None:
        """A reading took so long."""
        self.readings += 1
        self._costs.append(seconds)
        allowed = self.share * (step_seconds or 0.0)
        rest = min(self._costs) / allowed if allowed else self.at_least
        longest = _LONGEST_REST if self.readings >= _FIRST_READINGS else self.readings * self.at_least
        self.next = step + max(min(math.ceil(rest), longest), self.at_least)


def dense(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """The floating dense tensors among some, of a sharded one the local part: no reading may start a collective call."""
    found = (getattr(t, "_local_tensor", t) for t in tensors if t is not None)
    return [t.detach() for t in found if t.is_floating_point() and t.layout is torch.strided and t.numel()]


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """2-norm of each tensor, read with one synchronisation for each device."""
    if not tensors:
        return []
    found = torch._foreach_norm(list(tensors))
    by_device: dict[torch.device, list[int]] = {}
    for position, value in enumerate(found):
        by_device.setdefault(value.device, []).append(position)
    result = [0.0] * len(found)
    for positions in by_device.values():
        values = torch.stack([found[i].float() for i in positions]).tolist()
        for position, value in zip(positions, values, strict=True):
            result[position] = value
    return result


def gradient_norm(parameters: Iterable[Tensor]) -> float | None:
    """Global 2-norm of the stored gradients; None when there is none."""
    found = norms(dense(p.grad for p in parameters))
    return math.hypot(*found) if found else None


class UpdateRatio:
    """|update| / |weight| of one optimizer step: median over a few weight matrices."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        matrices = [p for p in parameters if p.dim() > 1 and p.requires_grad]
        stride = max(1, math.ceil(len(matrices) / _RATIO_TENSORS))
        self.weights = dense(matrices[::stride])
        self.before: list[Tensor] | None = [w.clone() for w in self.weights]

    def ratio(self) -> float | None:
        """The median, once the step was taken; None when nothing can be compared."""
        before, self.before = self.before, None
        if not before:
            return None
        sizes = norms(before)
        changes = norms(list(torch._foreach_sub(self.weights, before)))
        ratios = sorted(c / s for c, s in zip(changes, sizes, strict=True) if s > 0)
        return ratios[len(ratios) // 2] if ratios else None


def resident_bytes(device: torch.device | None) -> int | None:
    """Bytes that torch holds on a CUDA device, else the resident size of this process; None where the system does not tell."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * _page_size()
    except OSError:
        return None


def _page_size() -> int:
    import resource

    size: Any = resource.getpagesize()
    return int(size)
