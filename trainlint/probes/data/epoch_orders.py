"""The indices of two epochs of a loader, whether they come in the same order or in a similar one, and where a sampler hands them out."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainlint.probes.data.datasets import sampler_of
from trainlint.probes.source.statements import given_out_at
from trainlint.record.frames import Frames, Place

__all__ = ["MOST", "epochs_of", "flat", "handed_out_at", "likeness"]

#: Indices looked at; datasets whose sampler may have to make a list of this length at once are not asked again.
MOST, _MOST_LISTED = 4096, 20_000_000
#: A random order repeats by chance; from this probability on two equal epochs are no evidence.
_CHANCE = 1e-3
#: Samples, and the share of an epoch's, that must be known of both epochs to compare their places.
_COMPARED, _SHARED = 50, 0.5


def likeness(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Rank correlation of the samples' places in two epochs: 0 when drawn anew, 1 in the same order; None where too few are known of both."""
    ahead, later = ({index: place for place, index in reversed(list(enumerate(order)))} for order in (first, second))
    common = [index for index in ahead if index in later]
    if len(common) < max(_COMPARED, _SHARED * len(ahead)):
        return None
    places = np.array([[order[index] for index in common] for order in (ahead, later)])
    return float(np.asarray(np.corrcoef(places.argsort().argsort()))[0, 1])


def handed_out_at(loader: DataLoader[Any], frames: Frames) -> Place | None:
    """Where the sampler of the user's that decides on the order hands out its indices or batches; None for a library's."""
    for sampler in (loader.batch_sampler, sampler_of(loader)):
        code = getattr(getattr(type(sampler), "__iter__", None), "__code__", None)
        if code is not None and frames.is_user(code.co_filename):
            return given_out_at(code)
    return None


def epochs_of(
    loader: DataLoader[Any], recorded: Sequence[list[int]], size: int | None, *, told: bool
) -> tuple[list[int], list[int], bool | None]:
    """``(first, second, same)``: indices of two epochs, as recorded or, where that is more, as a copy of the sampler gives them.

    A copy of a sampler that is ``told`` the number of each epoch would not be told it, so it is not asked.
    """
    first, second = (*recorded, [], [])[:2]
    common = min(len(first), len(second))
    same = first[:common] == second[:common] if _is_telling(common, size) else None
    if size is None or size > _MOST_LISTED or told:
        return first, second, same
    copies = _fresh(loader.sampler if loader.batch_sampler is None else loader.batch_sampler)
    ahead, later = _stretch(copies), _stretch(copies)
    common = min(len(ahead), len(later))
    fixed = ahead[:common] == later[:common] if _is_telling(common, size) else None
    agrees = bool(ahead) and ahead[: len(first)] == first[: len(ahead)]
    if same is None and fixed is not None:
        same = fixed and agrees
    longer = len(ahead) > len(first)
    # A copy that repeats itself stands for the loader only where it also repeats what was recorded.
    return (ahead, later, same) if longer and (agrees if fixed or same else not fixed) else (first, second, same)


def _is_telling(count: int, size: int | None) -> bool:
    """Whether a random order would hardly ever begin with the same ``count`` indices."""
    if count < 1 or not size:
        return False
    return math.lgamma(size + 1) - math.lgamma(max(size - count, 0) + 1) > -math.log(_CHANCE)


def _stretch(sampler: Any) -> list[int]:
    if sampler is None:
        return []
    try:
        return list(itertools.islice(flat(sampler), MOST))
    except Exception:
        return []


def flat(indices: Iterable[Any]) -> Iterator[int]:
    """Plain indices, whether they come singly or in batches."""
    for entry in indices:
        for index in entry if isinstance(entry, list | tuple) else (entry,):
            if isinstance(index, Tensor | np.generic):
                index = index.item()
            if isinstance(index, int):
                yield index


def _fresh(sampler: Any, depth: int = 0) -> Any:
    """A copy of a sampler that can be iterated without moving the user's own; None when it can only be used up."""
    if hasattr(sampler, "__next__"):
        return None
    try:
        twin = copy.copy(sampler)
        for name, value in list(vars(twin).items()):
            if isinstance(value, torch.Generator):
                setattr(twin, name, value.clone_state())
            elif name in ("sampler", "batch_sampler") and depth < 8:
                inner = _fresh(value, depth + 1)
                if inner is None:
                    return None
                setattr(twin, name, inner)
            elif hasattr(value, "__next__"):
                return None
    except Exception:
        return None
    return twin
