"""Finds the line that changes, in place, the data that a dataset holds while one of its samples is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.data.drawing import lines_that_change
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.randomness import differ
from trainlint.probes.data.split_samples import root_of
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept

__all__ = ["changed_in_place"]

#: Bytes of an array that are compared as a whole, of a larger one only the sample's row; bytes of all, and members of a container.
_WHOLE, _BYTES, _MEMBERS = 2**24, 2**26, 2048

Array = np.ndarray[Any, Any] | Tensor


def changed_in_place(samples: Samples, frames: Frames) -> Place | None:
    """The first line of the user's that changes arrays of the dataset's, so that a sample is another one when it is read again.

    None where samples vary by what is drawn alone. The arrays are put back as they were before the last reading.
    """
    for index in list(samples.pool[:2]):
        with randomness_kept(), generators_kept(samples.dataset), torch.no_grad():
            try:
                if not _wears(samples, index):
                    continue
                parts = list(_parts(samples.dataset, index))
                before = [part.clone() if isinstance(part, Tensor) else part.copy() for part in parts]
            except Exception:
                return None
            changes = lines_that_change(partial(samples.raw, index), frames, partial(_digests, parts))
            for part, value in zip(parts, before, strict=True) if changes else ():
                part[...] = value
        if changes:
            return changes[0][0]
    return None


def _wears(samples: Samples, index: int) -> bool:
    """Whether a sample is another one when it is read again, although all generators begin in the same state."""
    readings = []
    for _ in range(3):  # what is kept from the first reading on is kept after it
        with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn):
            readings.append({path: tensor.clone() for path, tensor in samples[index].items()})
    one, other = readings[1:]
    return one.keys() == other.keys() and differ([one, other])


def _parts(dataset: Any, index: int) -> Iterator[Array]:
    """Yield the arrays that reading this sample may change, large ones only where they hold this sample."""
    row = int(root_of(dataset, [index])[1][0])
    left = _BYTES
    for array in _held(dataset, row):
        size = array.nbytes
        part = array if size <= _WHOLE else array[row : row + 1] if row < len(array) else array[:0]
        left -= part.nbytes
        if left < 0:
            return
        yield part


def _held(dataset: Any, row: int) -> Iterator[Array]:
    for one in wrapped(dataset):
        reader = getattr(type(one), "__getitem__", None)
        names = getattr(getattr(reader, "__code__", None), "co_names", ())
        shared = [getattr(reader, "__globals__", {}).get(name) for name in names]
        attributes = getattr(one, "__dict__", {})
        for value in (*(attributes.values() if isinstance(attributes, dict) else ()), *shared):
            for member in _members(value, row):
                if isinstance(member, Tensor) or (isinstance(member, np.ndarray) and member.dtype != object):
                    yield member


def _members(value: Any, row: int) -> Iterator[Any]:
    """Yield an array, or the members of a container of arrays: this sample's where there are many."""
    if isinstance(value, Mapping):
        value = list(value.values()) if type(value) is dict else ()
    elif isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.flat) if value.size <= _MEMBERS else list(value[row : row + 1])
    if not isinstance(value, list | tuple):
        yield value
        return
    for member in value if len(value) <= _MEMBERS else value[row : row + 1]:
        yield from member if isinstance(member, list | tuple) and len(member) <= 8 else (member,)


def _digests(parts: Sequence[Array]) -> tuple[int, ...]:
    return tuple(map(_digest, parts))


def _digest(part: Array) -> int:
    plain = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy() if isinstance(part, Tensor) else np.ascontiguousarray(part)
    return zlib.crc32(plain.view(np.uint8).reshape(-1).data) if plain.size else 0
