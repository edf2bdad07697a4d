"""Whether a collate function leaves each input beside its own label.

The same samples are put into a batch in several orders. Whatever order a collate function gives them, a pair of input and label must
stay a pair; where it sorts the inputs alone, other labels come to stand beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainlint.measurements import TornPairs
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.value_source import reordering
from trainlint.record.frames import Frames
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.structure import tensor_leaves

__all__ = ["torn_pairs"]

#: Samples of a batch.
_SAMPLES = 12
#: Orders in which they are handed over, by position.
_ORDERS = (tuple(reversed(range(_SAMPLES))), tuple((5 * i + 3) % _SAMPLES for i in range(_SAMPLES)))


def torn_pairs(samples: Samples, role: Callable[[str], str], frames: Frames) -> TornPairs | None:
    """Pairs that the loader's own collate function tears apart; None when it keeps them, or cannot be asked."""
    collate: Any = samples.loader.collate_fn
    collate = getattr(collate, "func", collate)  # functools.partial
    code = getattr(collate, "__code__", None) or getattr(type(collate).__call__, "__code__", None)
    if samples.iterable or not samples.single or code is None or not frames.is_user(code.co_filename):
        return None
    pool = samples.pool
    if len(pool) < 2 * _SAMPLES:
        return None
    with randomness_kept(), torch.no_grad():
        try:
            raw = [samples.raw(pool[i * (len(pool) - 1) // (2 * _SAMPLES - 1)]) for i in range(2 * _SAMPLES)]
            moved = _moved(samples.loader.collate_fn, raw[::2], raw[1::2], role)
        except Exception:
            return None
    if moved is None:
        return None
    line = reordering(code.co_filename, code.co_firstlineno) or code.co_firstlineno
    return TornPairs(samples=_SAMPLES, moved=moved, where=frames.location((code.co_filename, line, code.co_name)))


def _moved(collate: Any, rows: Sequence[Any], others: Sequence[Any], role: Callable[[str], str]) -> int | None:
    """How many inputs get another label in the worst order; None when none does."""

    def batch(chosen: Sequence[Any], seed: int = 0) -> dict[str, Tensor]:
        seed_all(seed)
        return dict(tensor_leaves(collate(list(chosen))))

    given, again, other = batch(rows), batch(rows, 1), batch(others)
    if any(_is_order(t) for t in given.values()):
        return None  # it tells in which order it put them, and the model may put them back
    steady = [p for p, t in given.items() if t.dim() and len(t) == _SAMPLES and p in again and torch.equal(t, again[p])]
    told = [p for p in steady if p not in other or other[p].shape != given[p].shape or not torch.equal(other[p], given[p])]
    inputs, targets = ([p for p in told if role(p) == wanted] for wanted in ("input", "target"))
    worst = 0
    for order in _ORDERS:
        moved = batch([rows[i] for i in order])
        for path in inputs:
            for target in targets:
                here, there = ([_rows(b[p]) for p in (path, target)] for b in (given, moved))
                alike = all(Counter(a) == Counter(b) for a, b in zip(here, there, strict=True))
                if alike:
                    kept = Counter(zip(*here, strict=True)) & Counter(zip(*there, strict=True))
                    worst = max(worst, _SAMPLES - kept.total())
    return worst or None


def _rows(tensor: Tensor) -> list[bytes]:
    return [row.contiguous().numpy().tobytes() for row in tensor.detach().cpu()]


def _is_order(tensor: Tensor) -> bool:
    """Whether a tensor holds each position of the batch once."""
    whole = tensor.dim() == 1 and len(tensor) == _SAMPLES and not tensor.is_floating_point()
    return whole and tensor.sort().values.tolist() == list(range(_SAMPLES))
