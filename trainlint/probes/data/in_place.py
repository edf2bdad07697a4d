"""Finds the line that changes, in place, the data that a dataset holds while one of its samples is read.

What was changed shows when the same sample is read again, or, where a second change does nothing more, when a sample that shares values with it is.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.measurements import Overwritten
from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.data.drawing import lines_that_change
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.randomness import differ
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import loaders_of, root_of, samples_of
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording

__all__ = ["changed_in_place", "overwritten_sample", "worn_sample"]

#: Bytes of an array that are compared as a whole, of a larger one only the sample's row; bytes of all, and members of a container.
_WHOLE, _BYTES, _MEMBERS = 2**24, 2**26, 2048

#: Pairs of neighbouring samples that are read, and seconds after which no more are.
_PAIRS, _SECONDS = 3, 1.0
#: Least change of a sample's values over their distance to its neighbour's: rounding is far below.
_LEAST = 0.01
#: Readings that must agree, within this part of the change, before the change is held to be no draw that a generator makes.
_READINGS, _AGREEMENT = 3, 0.1
#: Least share of a sample's values that the reading of its neighbour changes in what the dataset holds; counters and statistics are fewer.
_PART = 0.5

Array = np.ndarray[Any, Any] | Tensor
Leaves = Mapping[str, Tensor]


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
                before = _copies(parts)
            except Exception:
                return None
            changes = lines_that_change(partial(samples.raw, index), frames, partial(_digests, parts))
            _put_back(parts, before)
        if changes:
            return changes[0][0]
    return None


def overwritten_sample(recording: Recording) -> Overwritten | None:
    """The first sample, of those trained on and those that validate, that becomes another one when its neighbour in the dataset is read."""
    return _first(recording, ("train", "val"), _overwritten)


def worn_sample(recording: Recording) -> Overwritten | None:
    """The first training sample that is another one when it is read again, because reading it changes what the dataset holds."""
    return _first(recording, ("train",), _worn)


def _first(recording: Recording, phases: Sequence[str], look: Callable[..., Overwritten | None]) -> Overwritten | None:
    flow, end = DataFlow(recording), time.monotonic() + _SECONDS
    for phase, entry in [(name, one) for name in phases for one in loaders_of(flow, name)[:2]]:
        samples = samples_of(entry)
        pool = samples.pool if samples.single and not samples.iterable else ()
        for position in sorted({(len(pool) - 1) * part // (_PAIRS + 1) for part in range(1, _PAIRS + 1)} if len(pool) > 1 else ()):
            if time.monotonic() > end:
                return None
            with suppress(Exception), torch.no_grad():  # what cannot be read again is not judged
                found = look(samples, pool[position], pool[position + 1], recording.frames, end)
                if found is not None:
                    return replace(found, phase=phase)
    return None


def _overwritten(samples: Samples, sample: int, neighbour: int, frames: Frames, end: float) -> Overwritten | None:
    """What the neighbour's reading changes; None where nothing, or where a sample changes when it is read again as well."""
    _read(samples, sample)  # what is kept from the first reading on is kept after it
    one, other, after = _read(samples, sample), _read(samples, neighbour), _read(samples, sample)
    shares = _shares(one, after, other)
    if max(shares.values(), default=0.0) < _LEAST or time.monotonic() > end:
        return None
    if not all(_agree(after, _read(samples, sample), other, shares) for _ in range(_READINGS)):
        return None
    parts = list(_parts(samples.dataset, sample))
    before = _copies(parts)
    try:
        _read(samples, neighbour)
        if not _is_much(parts, before, one):
            return None
        _read(samples, sample)
        place = _changes_at(samples, neighbour, frames, parts)
    finally:
        _put_back(parts, before)
    where = frames.location(place)
    return Overwritten(phase="", sample=sample, read=neighbour, change=max(shares.values()), where=where) if place is not None else None


def _worn(samples: Samples, sample: int, neighbour: int, frames: Frames, end: float) -> Overwritten | None:
    """What a sample's own reading changes; None where it is not what the dataset holds that makes readings differ."""
    _read(samples, sample)
    one, again, other = _read(samples, sample), _read(samples, sample), _read(samples, neighbour)
    shares = _shares(one, again, other)
    if max(shares.values(), default=0.0) < _LEAST or time.monotonic() > end:
        return None
    parts = list(_parts(samples.dataset, sample))
    before = _copies(parts)
    try:
        first = _read(samples, sample)
        if not _is_much(parts, before, one):
            return None
        for _ in range(_READINGS):
            _put_back(parts, before)
            if not _agree(first, _read(samples, sample), other, shares):
                return None
        place = _changes_at(samples, sample, frames, parts)
    finally:
        _put_back(parts, before)
    where = frames.location(place)
    return Overwritten(phase="", sample=sample, read=sample, change=max(shares.values()), where=where) if place is not None else None


def _read(samples: Samples, index: int) -> dict[str, Tensor]:
    """A sample with the random generators as they are, which stay so."""
    with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn):
        return {path: tensor.clone() for path, tensor in samples[index].items()}


def _is_much(parts: Sequence[Array], before: Sequence[Array], sample: Leaves) -> bool:
    """Whether as much of what the dataset holds was changed as a good part of a sample."""
    written = sum(_different(part, value) for part, value in zip(parts, before, strict=True))
    return written >= _PART * max(tensor.numel() for tensor in sample.values())


def _changes_at(samples: Samples, index: int, frames: Frames, parts: Sequence[Array]) -> Place | None:
    with randomness_kept(), generators_kept(samples.dataset):
        changes = lines_that_change(partial(samples.raw, index), frames, partial(_digests, parts))
    return changes[0][0] if changes else None


def _copies(parts: Sequence[Array]) -> list[Array]:
    return [part.clone() if isinstance(part, Tensor) else part.copy() for part in parts]


def _put_back(parts: Sequence[Any], values: Sequence[Array]) -> None:
    for part, value in zip(parts, values, strict=True):
        if _different(part, value):
            part[...] = value


def _different(part: Any, value: Any) -> int:
    """Elements that differ; NaN does not differ from NaN."""
    differs: Any = (part != value) & ((part == part) | (value == value))
    return int(differs.sum())


def _shares(one: Leaves, after: Leaves, other: Leaves) -> dict[str, float]:
    """The change of each of a sample's tensors over the distance between two samples; 0 where they cannot be compared."""
    return {path: _share(one[path], after[path], other[path]) for path in one if path in after and path in other}


def _agree(one: Leaves, again: Leaves, other: Leaves, changes: Mapping[str, float]) -> bool:
    """Whether two readings are the same beside those changes: in each tensor that changed much, and in no other more than in these."""
    rest = _shares(one, again, other)
    largest = max(changes.values())
    return all(
        share < _AGREEMENT * (changes.get(path, 0.0) if changes.get(path, 0.0) >= _LEAST else largest) for path, share in rest.items()
    )


def _share(one: Tensor, after: Tensor, other: Tensor) -> float:
    if one.shape != after.shape or one.shape != other.shape or not one.numel() or one.is_complex():
        return 0.0
    apart, change = (float((one.double() - b.double()).abs().nan_to_num().mean()) for b in (other, after))
    return change / apart if apart else 0.0


def _wears(samples: Samples, index: int) -> bool:
    """Whether a sample is another one when it is read again, although all generators begin in the same state."""
    readings = [_read(samples, index) for _ in range(3)]  # what is kept from the first reading on is kept after it
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
