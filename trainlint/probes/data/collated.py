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
_SAMPLES, _TIMES = 8, 6
#: Share of the other sample at which one is told best from the other, and from none.
_TELLING = 0.25
#: A change below this share of the largest is none. Rows that may change besides a sample's own; a normalisation changes all.
_FAINT, _FEW = 1e-3, 2


#: Shares by path, and by exchange: random draws and the place of the sample.
Shares = dict[str, dict[tuple[int, int], float]]


@dataclass(frozen=True)
class Collated:
    """A blend made by a collate function."""

    blend: float
    """Median share of the other sample in a row that holds a part of it."""
    labels: bool | None
    """The labels of such rows change too; None when the exchanged samples had the same labels."""
    label_blend: float | None
    """Median share that the other sample's label has in such a row; None where labels are no numbers that could be blended."""
    path: str
    """The input that is blended."""
    target: str
    """The target that holds the labels; empty where none changes."""
    where: Place
    """The collate function, or the line of it that blends."""
    labels_where: Place | None = None
    """The line that blends the labels."""


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
    inputs, targets, labels = found
    path, target = (max(shares, key=lambda one: len(shares[one]), default=None) for shares in (inputs, targets))
    place = (code.co_filename, code.co_firstlineno, code.co_name)
    if path is None:
        return None
    blend, label_blend = statistics.median(inputs[path].values()), None
    both = (
        [(inputs[path][e], targets[target][e]) for e in sorted(inputs[path].keys() & targets[target].keys())] if target is not None else []
    )
    if both:  # how much is blended may be drawn for each batch, so the two are told of the same one
        blend, label_blend = min(both, key=lambda pair: abs(pair[0] - _TELLING))
    return Collated(blend, labels, label_blend, path, target or "", place)


def _blends(collate: Any, raw: list[Any], role: Callable[[str], str]) -> tuple[Shares, Shares, bool | None]:
    """Shares of another sample in rows of inputs, and of its label in rows of targets; and whether labels follow at all."""
    *kept, other = raw
    inputs: Shares = {}
    targets: Shares = {}
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
                shares = {"input": inputs, "target": targets}.get(role(path))
                if shares is targets:
                    labels = bool(labels) or bool(others.any())
                if shares is not None and tensor.is_floating_point() and tensor.dim() > 1 and bool(others.any()) and change[place] > 0:
                    shares.setdefault(path, {})[seed, place] = float(change[others].sum()) / float(change.sum())
    return inputs, targets, labels
