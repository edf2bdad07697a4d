"""Randomness of datasets: tells a dataset that draws its samples from one that augments them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.probes.data.datasets import Samples
from trainlint.record.random_state import random_state, restore_random
from trainlint.record.structure import tensor_leaves

__all__ = ["differ", "draws_samples"]

#: Indices that are read several times, and how often.
_INDICES, _TIMES = 8, 3
#: Readings of one index that are this far apart, compared with readings of different ones, are different samples: a judgement.
_APART = 0.7


def draws_samples(samples: Samples, order: Sequence[int], role: Callable[[str], str], end: float) -> bool:
    """Whether the dataset draws its samples itself, so that an index does not stand for a sample.

    Augmentation changes a sample too, but keeps its label and most of its values, wherever they move to: a dataset draws when the
    label changes, or when the sorted values of one index differ as much as those of different indices do.
    """
    try:
        indices = list(dict.fromkeys(order))[:: max(1, len(set(order)) // _INDICES)][:_INDICES]
        readings: dict[int, list[dict[str, Tensor]]] = {}
        for index in indices:
            if time.monotonic() > end:
                break
            raw = [samples.raw(index) for _ in range(_TIMES)]
            if not differ(raw):
                continue
            readings[index] = []
            for sample in raw:
                state = random_state()  # a collate function may draw too, which is no matter of the dataset
                readings[index].append(samples.leaves(sample))
                restore_random(state)
        if not readings:
            return False
        paths = list(next(iter(readings.values()))[0])
        chosen = [p for p in paths if role(p) != "other"] or paths
        return any(_differs([[leaves[path] for leaves in drawn] for drawn in readings.values()]) for path in chosen)
    except Exception:
        return False


def differ(raw: Sequence[Any]) -> bool:
    """Whether raw samples differ in their tensors, arrays or numbers."""
    return not all(_same(raw[0], other) for other in raw[1:])


def _same(sample: Any, other: Any) -> bool:
    """Whether two raw samples are equal as far as their tensors, arrays and numbers go."""
    if isinstance(sample, Tensor) and isinstance(other, Tensor):
        return sample.shape == other.shape and torch.equal(sample.nan_to_num(), other.nan_to_num())
    if isinstance(sample, dict) and isinstance(other, dict):
        return sample.keys() == other.keys() and all(_same(sample[k], other[k]) for k in sample)
    if isinstance(sample, list | tuple) and isinstance(other, list | tuple):
        return len(sample) == len(other) and all(map(_same, sample, other))
    if isinstance(sample, np.ndarray | np.generic):
        return bool(np.array_equal(sample, other, equal_nan=sample.dtype.kind == "f"))
    if isinstance(sample, int | float | str | bytes):
        return sample == other or sample != sample
    mine, theirs = list(tensor_leaves(sample)), list(tensor_leaves(other))
    return all(_same(a, b) for (_, a), (_, b) in zip(mine, theirs, strict=False))


def _differs(drawn: Sequence[Sequence[Tensor]]) -> bool:
    """Whether readings of one index are as different as readings of others; for single numbers, whether they differ at all."""
    values = [[t.detach().double().reshape(-1).nan_to_num().sort().values for t in readings] for readings in drawn]
    if any(len({v.numel() for v in readings}) > 1 for readings in values):
        return True
    if all(readings[0].numel() == 1 for readings in values):
        return any(not torch.equal(readings[0], other) for readings in values for other in readings[1:])
    within = [float((readings[0] - other).abs().mean()) for readings in values for other in readings[1:]]
    pairs = [(a[0], b[0]) for a, b in itertools.combinations(values, 2) if a[0].numel() == b[0].numel()]
    between = [float((a - b).abs().mean()) for a, b in pairs]
    return bool(between) and sum(within) / len(within) > _APART * sum(between) / len(between)
