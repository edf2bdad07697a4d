"""Looks for training samples among the validation samples: by index where both are parts of one dataset, else by content."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from trainlint.measurements import Shared, SplitOverlap
from trainlint.probes.data.contents import POOR, Content, content_of, parts_of
from trainlint.probes.data.datasets import TRANSFORMS, Samples, size_of, spread
from trainlint.probes.data.randomness import draws_samples
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import Indices, loaders_of, root_of, samples_of
from trainlint.probes.data.windows import overlapping
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.source.folds import carried_over
from trainlint.probes.source.partings import parted_at
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.settings import Settings

__all__ = ["measure_split_overlap"]

#: Seconds for reading; validation samples read; examples kept; samples that are read twice to see whether they change.
_SECONDS, _MOST, _EXAMPLES, _TWICE = 3.0, 1000, 12, 4
#: Share of different numbers from which a column of a table is a measurement, and so many that do not agree by chance twice.
_MEASURED, _COLUMNS = 0.5, 2


@dataclass
class _Read:
    """Contents of some samples by index, as found."""

    contents: dict[int, Content] = field(default_factory=dict)
    measured: bool = False
    """Short samples count too: they are rows of measured numbers."""

    def says_something(self, content: Content) -> bool:
        """Whether an equal sample elsewhere means anything."""
        return content.size >= POOR or (self.measured and len(set(content.values)) > 1)

    @property
    def poor(self) -> int:
        """Samples that say nothing."""
        return sum(not self.says_something(c) for c in self.contents.values())

    @property
    def by_digest(self) -> dict[bytes, int]:
        """The first index of each content that says something."""
        return {c.digest: index for index, c in reversed(self.contents.items()) if self.says_something(c)}

    @property
    def repeated(self) -> float:
        """Share of the samples that occur more than once."""
        counts = Counter(c.digest for c in self.contents.values() if self.says_something(c))
        return sum(n for n in counts.values() if n > 1) / counts.total() if counts else 0.0

    @property
    def different(self) -> float:
        """Different contents against samples."""
        return len({c.digest for c in self.contents.values()}) / max(len(self.contents), 1)

    @property
    def distinct(self) -> list[float]:
        """Different values against different samples, by place, each once: 1 for measured numbers."""
        rows = list({c.digest: c.values for c in self.contents.values() if c.values}.values())
        return [len(set(column)) / len(rows) for column in set(zip(*rows, strict=False))]


def measure_split_overlap(recording: Recording, deadline: float, settings: Settings) -> SplitOverlap:
    """Compare each validation loader with the training loader that ran before it; and whether a model goes on from fold to fold."""
    carried = carried_over(recording)
    try:
        return replace(_compared(recording, deadline), carried=carried)
    except CannotMeasureError:
        if carried is None:
            raise
        return SplitOverlap(carried=carried)


def _compared(recording: Recording, deadline: float) -> SplitOverlap:
    flow = DataFlow(recording)
    train, val = loaders_of(flow, "train"), loaders_of(flow, "val")
    if not train or not val:
        raise CannotMeasureError(f"there is no {'training' if not train else 'validation'} DataLoader")
    end = min(deadline, time.monotonic() + _SECONDS * len(val))
    pairs, reason = [], ""
    for place, entry in enumerate(val):
        other = _before(entry, train)
        until = time.monotonic() + max(end - time.monotonic(), 0.0) / (len(val) - place)
        try:
            with randomness_kept(), torch.no_grad():
                pair = _compare(recording, flow, other, entry, until)
            waiting = not any(i.phase for i in entry.iterations)
            if waiting and pair.found == pair.val_read and pair.train_total == pair.val_total:
                raise CannotMeasureError("the one other DataLoader reads the training data, and the script has not come to use it")
            pairs.append(replace(pair, waiting=waiting))
        except CannotMeasureError as error:
            reason = str(error)
    return SplitOverlap(pairs=tuple(pairs), reason=reason)


def _before(val: Loader, train: Sequence[Loader]) -> Loader:
    """The training loader whose pass began last before the validation's first: folds follow each other."""
    first = min((i.begun for i in val.iterations), default=math.inf)
    begun = {id(t): [i.begun for i in t.iterations if i.begun <= first] for t in train}
    return max(train, key=lambda t: max(begun[id(t)], default=-1.0))


def _compare(recording: Recording, flow: DataFlow, train: Loader, val: Loader, end: float) -> Shared:
    mine, theirs = samples_of(train), samples_of(val)
    where = recording.frames.location(recording.places.get(id(val.loader.dataset)) or val.place)
    if train.loader is val.loader:
        total = len(mine.pool)
        return Shared(where=where, how="loader", train_total=total, val_total=total, train_read=total, val_read=total, found=total)
    if any(s.iterable or not s.single or not len(s.pool) for s in (mine, theirs)):
        raise CannotMeasureError("the data cannot be read sample by sample, so that parts cannot be compared")
    for samples, entry in ((mine, train), (theirs, val)):
        if draws_samples(samples, list(samples.pool[: 2**16]), partial(flow.role, entry.index), end):
            raise CannotMeasureError("a dataset draws its samples at random, so that an index stands for none of them")
    (root, rows), (other_root, other_rows) = (root_of(s.dataset, np.asarray(s.pool, dtype=np.int64)) for s in (mine, theirs))
    if root is other_root and len(np.intersect1d(rows, other_rows)):
        return _by_index(where, rows, other_rows)
    pair = _bycontent_of(where, mine, theirs, end)
    if pair.found or pair.overlapping:
        paths = (_input_path(flow, train), _input_path(flow, val))
        parted = parted_at(recording, (train, paths[0]), (val, paths[1])) if all(paths) else None
        return replace(pair, where=recording.frames.location(parted) or where)
    return pair


def _input_path(flow: DataFlow, entry: Loader) -> str:
    """Path of the first input in a loader's batches; empty when none was seen."""
    batch = next((b for b in flow.batches if b.iteration is not None and b.iteration.loader is entry), None)
    return next((path for path in (batch.leaves if batch else ()) if flow.role(entry.index, path) == "input"), "")


def _by_index(where: Any, train: Indices, val: Indices) -> Shared:
    common = np.intersect1d(train, val)
    same = len(common) == len(np.unique(train)) == len(np.unique(val))
    return Shared(
        where=where,
        how="dataset" if same else "indices",
        train_total=len(train),
        val_total=len(val),
        train_read=len(train),
        val_read=len(val),
        found=int(np.isin(val, common).sum()),
        examples=tuple((int(i), int(i)) for i in common[:_EXAMPLES]),
    )


def _bycontent_of(where: Any, mine: Samples, theirs: Samples, end: float) -> Shared:
    now = time.monotonic()
    get, get_other = _readers(mine, theirs)
    val = _read(get_other, theirs.pool, _MOST, now + (end - now) / 3)
    train = _read(get, mine.pool, len(mine.pool), end, glance=True)
    distinct = train.distinct
    train.measured = val.measured = sum(share >= _MEASURED for share in distinct) >= _COLUMNS
    known = train.by_digest
    overlaps, windows = overlapping(get, mine.pool, get_other, theirs.pool, end + _SECONDS / 2)
    hits = [(index, known[c.digest]) for index, c in val.contents.items() if val.says_something(c) and c.digest in known]
    return Shared(
        where=where,
        how="content",
        train_total=len(mine.pool),
        val_total=len(theirs.pool),
        train_read=len(train.contents),
        val_read=len(val.contents),
        found=len(hits),
        repeated=train.repeated,
        distinct=max(distinct, default=0.0),
        different=train.different,
        pictures=all(c.picture for c in val.contents.values()),
        poor=val.poor,
        size=int(statistics.median(c.size for c in val.contents.values())),
        examples=tuple(sorted(hits)[:_EXAMPLES]),
        windows=windows,
        overlapping=overlaps,
    )


def _readers(mine: Samples, theirs: Samples) -> tuple[Any, Any]:
    """Functions from an index to a sample: before any transform where both datasets can do without, as loaded, else from an array that both hold."""
    for bare in (True, False):
        readers = [_Reader(s, bare=bare) for s in (mine, theirs)]
        if all(reader.is_steady for reader in readers):
            return readers[0], readers[1]
    one, other = _arrays(mine), _arrays(theirs)
    if common := [name for name in one if name in other and one[name].shape[1:] == other[name].shape[1:]]:
        largest = max(common, key=lambda name: one[name][:1].nbytes)
        return _row_of(mine, one[largest]), _row_of(theirs, other[largest])
    raise CannotMeasureError("samples are augmented at random each time they are read, so that equal ones cannot be found")


def _arrays(samples: Samples) -> dict[str, Any]:
    """The arrays that the dataset below all subsets holds, by name, with a row for each sample and as many numbers in it as a part of a sample."""
    root, _ = root_of(samples.dataset, samples.pool[:1])
    held = getattr(root, "__dict__", {})
    arrays = {n: v for n, v in held.items() if isinstance(v, np.ndarray | Tensor)} if isinstance(held, dict) else {}
    try:
        sizes = {part.size for part in parts_of(samples.raw(samples.pool[0]))} if arrays else set()
    except Exception:
        return {}
    return {n: v for n, v in arrays.items() if v.ndim > 1 and len(v) == size_of(root) and math.prod(v.shape[1:]) in sizes}


def _row_of(samples: Samples, array: Any) -> Callable[[int], Any]:
    rows = dict(zip(samples.pool, root_of(samples.dataset, samples.pool)[1].tolist(), strict=True))
    return lambda index: array[rows[index]]


class _Reader:
    """Reads samples of a dataset, or of a shallow copy of it without its transforms."""

    def __init__(self, samples: Samples, *, bare: bool) -> None:
        self.samples = samples
        self.dataset = _without_transforms(samples.dataset) if bare else samples.dataset

    def __call__(self, index: int) -> Any:
        return self.dataset[[index] if self.samples.by_lists else index]

    @property
    def is_steady(self) -> bool:
        """Whether some samples can be read, and are the same when read again."""
        pool = self.samples.pool
        chosen = [pool[i] for i in np.linspace(0, len(pool) - 1, _TWICE).astype(int)]
        try:
            return all(content_of(self(i)) == content_of(self(i)) for i in chosen)
        except Exception:
            return False


def _without_transforms(dataset: Any, depth: int = 8) -> Any:
    """Copy the shells around the data, their transforms switched off; the data itself is shared."""
    held = getattr(dataset, "__dict__", None)
    if depth == 0 or not isinstance(held, dict):
        return dataset
    inner = held.get("dataset")
    names = [name for name in TRANSFORMS if callable(held.get(name))]
    parts = held.get("datasets") if isinstance(dataset, ConcatDataset) else None
    if inner is None and not names and parts is None:
        return dataset
    try:
        bare = copy.copy(dataset)
        for name in names:
            bare.__dict__[name] = None
        if inner is not None:
            bare.__dict__["dataset"] = _without_transforms(inner, depth - 1)
        if parts is not None:
            bare.__dict__["datasets"] = [_without_transforms(part, depth - 1) for part in parts]
    except Exception:
        return dataset
    return bare


def _read(get: Any, pool: Sequence[int], most: int, end: float, *, glance: bool = False) -> _Read:
    """Contents of the samples, of ``most`` at most; by a ``glance`` their sizes are exact only for those that say little."""
    found = _Read()
    for position in spread(len(pool)):
        if len(found.contents) >= most or (time.monotonic() > end and len(found.contents) >= _TWICE):
            break
        try:
            found.contents[pool[position]] = content_of(get(pool[position]), glance=glance)
        except Exception as error:
            raise CannotMeasureError(f"sample {pool[position]} could not be read: {type(error).__name__}") from error
    return found
