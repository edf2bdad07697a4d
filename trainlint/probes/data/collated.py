"""Whether a collate function blends the samples of a batch, and their labels with them.

A few samples are put into a batch twice with the same random draws, one of them exchanged for another in between. A row that changes with
a sample that is not its own holds a part of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainlint.probes.data.datasets import Samples
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.structure import tensor_leaves

__all__ = ["Collated", "blend_in_collate"]

#: Samples of the batch; repetitions with other random draws, since a blend is often drawn.
_SAMPLES, _TIMES = 8, 3
#: A change below this share of the largest is none. Rows that may change besides a sample's own; a normalisation changes all.
_FAINT, _FEW = 1e-3, 2


@dataclass(frozen=True)
class Collated:
    """A blend made by a collate function."""

    blend: float
    """Median share of the other sample in a row that holds a part of it."""
    labels: bool | None
    """The labels of such rows change too; None when the exchanged samples had the same labels."""
    path: str
    """The input that is blended."""
    where: Place
    """The collate function."""


def blend_in_collate(samples: Samples, role: Callable[[str], str], frames: Frames) -> Collated | None:
    """Blends of the loader's own collate function; None when it makes none, or cannot be asked."""
    collate: Any = samples.loader.collate_fn
    code = getattr(collate, "__code__", None) or getattr(type(collate).__call__, "__code__", None)
    if samples.iterable or not samples.single or code is None or not frames.is_user(code.co_filename):
        return None
    with randomness_kept(), torch.no_grad():
        try:
            pool = samples.pool
            raw = [samples.raw(pool[i * (len(pool) - 1) // _SAMPLES]) for i in range(_SAMPLES + 1)]
            found = _blends(collate, raw, role)
        except Exception:
            return None
    shares, labels = found
    path = max(shares, key=lambda one: len(shares[one]), default=None)
    place = (code.co_filename, code.co_firstlineno, code.co_name)
    return Collated(statistics.median(shares[path]), labels, path, place) if path is not None else None


def _blends(collate: Any, raw: list[Any], role: Callable[[str], str]) -> tuple[dict[str, list[float]], bool | None]:
    """Shares of another sample in rows of inputs, by path, and whether labels follow."""
    *kept, other = raw
    shares: dict[str, list[float]] = {}
    labels: bool | None = None
    for seed in range(_TIMES):
        for place in (0, len(kept) // 2):

            def batch(rows: list[Any], seed: int = seed) -> dict[str, Tensor]:
                seed_all(seed)
                return dict(tensor_leaves(collate(rows)))

            before, after = batch(kept), batch([other if i == place else row for i, row in enumerate(kept)])
            for path, tensor in before.items():
                if path not in after or tensor.shape != after[path].shape or tensor.dim() < 1 or len(tensor) != len(kept):
                    continue
                change = (after[path].double() - tensor.double()).abs().reshape(len(kept), -1).sum(1)
                others = change > _FAINT * float(change.max())
                others[place] = False
                if int(others.sum()) > _FEW or not float(change.max()):
                    continue
                if role(path) == "target":
                    labels = bool(labels) or bool(others.any())
                elif role(path) == "input" and tensor.is_floating_point() and tensor.dim() > 1 and bool(others.any()) and change[place] > 0:
                    shares.setdefault(path, []).append(float(change[others].sum()) / float(change.sum()))
    return shares, labels
