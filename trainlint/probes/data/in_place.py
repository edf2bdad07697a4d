"""Finds the line that changes, in place, the data that a dataset holds while one of its samples is read.

What was changed shows when the same sample is read again, or, where a second change does nothing more, when a sample that shares values with it is.
Masks drawn at random do nothing more when the same one is drawn again: they show when others are drawn in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trainlint.measurements import Overwritten
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.drawing import lines_that_change
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.held_arrays import Array, arrays_read, copies, different, digests, put_back
from trainlint.probes.data.randomness import differ
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import loaders_of, samples_of
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.recording import Recording

__all__ = ["changed_in_place", "overwritten_sample", "worn_sample"]

#: Pairs of neighbouring samples that are read, and seconds after which no more are.
_PAIRS, _SECONDS = 3, 1.0
#: Least change of a sample's values over their distance to its neighbour's: rounding is far below.
_LEAST = 0.01
#: Readings that must agree, within this part of the change, before the change is held to be no draw that a generator makes.
_READINGS, _AGREEMENT = 3, 0.1
#: Least share of a sample's values that the reading of its neighbour changes in what the dataset holds; counters and statistics are fewer.
_PART = 0.5
#: Seeds of readings under other draws, the last three compared; least share and number of a sample's values that these overwrite: masks are larger.
_DRAWS, _MASKED, _FEWEST = (17, 1026, 2035, 3044, 4053), 0.01, 4

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
                parts = list(arrays_read(samples.dataset, index))
                before = copies(parts)
            except Exception:
                return None
            changes = lines_that_change(partial(samples.raw, index), frames, partial(digests, parts))
            put_back(parts, before)
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
    parts = list(arrays_read(samples.dataset, sample))
    before = copies(parts)
    try:
        _read(samples, neighbour)
        if not _is_much(parts, before, one):
            return None
        _read(samples, sample)
        place = _changes_at(samples, neighbour, frames, parts)
    finally:
        put_back(parts, before)
    where = frames.location(place)
    return Overwritten(phase="", sample=sample, read=neighbour, change=max(shares.values()), where=where) if place is not None else None


def _worn(samples: Samples, sample: int, neighbour: int, frames: Frames, end: float) -> Overwritten | None:
    """What a sample's own reading changes; None where it is not what the dataset holds that makes readings differ."""
    _read(samples, sample)
    one, again, other = _read(samples, sample), _read(samples, sample), _read(samples, neighbour)
    shares = _shares(one, again, other)
    if time.monotonic() > end:
        return None
    if max(shares.values(), default=0.0) < _LEAST:
        return _masked(samples, sample, other, frames)
    parts = list(arrays_read(samples.dataset, sample))
    before = copies(parts)
    try:
        first = _read(samples, sample)
        if not _is_much(parts, before, one):
            return None
        for _ in range(_READINGS):
            put_back(parts, before)
            if not _agree(first, _read(samples, sample), other, shares):
                return None
        place = _changes_at(samples, sample, frames, parts)
    finally:
        put_back(parts, before)
    where = frames.location(place)
    return Overwritten(phase="", sample=sample, read=sample, change=max(shares.values()), where=where) if place is not None else None


def _masked(samples: Samples, sample: int, other: Leaves, frames: Frames) -> Overwritten | None:
    """What readings under other draws leave behind for good: one value where there were many. None where workers forget it with each epoch."""
    if samples.loader.num_workers and not samples.loader.persistent_workers:
        return None
    if not differ([_read(samples, sample), *_drawn(samples, sample, _DRAWS[:2])]):
        return None
    parts = list(arrays_read(samples.dataset, sample))
    before = copies(parts)
    try:
        one, _, after = _read(samples, sample), _drawn(samples, sample, _DRAWS[2:]), _read(samples, sample)
        change = max(_shares(one, after, other).values(), default=0.0)
        if change < _LEAST or not _is_blanked(parts, before, one):
            return None
        put_back(parts, before)
        if not all(share < _AGREEMENT * change for share in _shares(one, _read(samples, sample), other).values()):
            return None
        for seed in _DRAWS[2:]:
            place = _changes_at(samples, sample, frames, parts, seed)
            if place is not None:
                return Overwritten(phase="", sample=sample, read=sample, change=change, masked=True, where=frames.location(place))
    finally:
        put_back(parts, before)
    return None


def _drawn(samples: Samples, index: int, seeds: Sequence[int]) -> list[Leaves]:
    """A sample read under each of these seeds; the random generators are put back."""
    found: list[Leaves] = []
    with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn):
        for seed in seeds:
            seed_all(seed)
            found.append({path: tensor.clone() for path, tensor in samples[index].items()})
    return found


def _is_blanked(parts: Sequence[Array], before: Sequence[Array], sample: Leaves) -> bool:
    """Whether a part of a sample's size was overwritten by few values: neither counters, nor samples that are kept and made anew now and then."""
    masks = [different(part, value) for part, value in zip(parts, before, strict=True)]
    written = sum(int(mask.sum()) for mask in masks)
    if written < max(_FEWEST, _MASKED * max(tensor.numel() for tensor in sample.values())):
        return False
    new, old = (sum(_distinct(part[mask]) for part, mask in zip(arrays, masks, strict=True)) for arrays in (parts, before))
    return 2 * new <= old


def _distinct(values: Array) -> int:
    return len(np.unique(np.asarray(values)))


def _read(samples: Samples, index: int) -> dict[str, Tensor]:
    """A sample with the random generators as they are, which stay so."""
    with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn):
        return {path: tensor.clone() for path, tensor in samples[index].items()}


def _is_much(parts: Sequence[Array], before: Sequence[Array], sample: Leaves) -> bool:
    """Whether as much of what the dataset holds was changed as a good part of a sample."""
    written = sum(int(different(part, value).sum()) for part, value in zip(parts, before, strict=True))
    return written >= _PART * max(tensor.numel() for tensor in sample.values())


def _changes_at(samples: Samples, index: int, frames: Frames, parts: Sequence[Array], seed: int | None = None) -> Place | None:
    with randomness_kept(), generators_kept(samples.dataset):
        if seed is not None:
            seed_all(seed)
        changes = lines_that_change(partial(samples.raw, index), frames, partial(digests, parts))
    return changes[0][0] if changes else None


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
