"""Validation data of a script that comes to validate only after the recording has ended: loaders that it built and has not used.

A few of their samples are read by index in this process, so that probes can compare them with what is trained on. A loader that may be
anything else is left alone: one that shuffles, one over the training data, one of another task or of another of several trainings.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler

from trainlint.probes.data.datasets import Samples, sampler_of, spread
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.randomness import differ
from trainlint.record.planned import source_tree
from trainlint.record.random_state import randomness_kept, seed_torch
from trainlint.record.recording import Recording
from trainlint.record.seen import Batch, Iteration, Loader
from trainlint.record.structure import tensor_leaves

__all__ = ["unseen_batches"]

#: Batches that are drawn of a loader, their samples at most, and the bytes from which one batch is enough.
_BATCHES, _ROWS, _BYTES = 4, 64, 64 * 2**20
#: Seconds for all loaders; samples that must be there when they end.
_SECONDS, _FEWEST = 2.0, 8
#: Samples that are compared with those of the training data.
_COMPARED = 8
#: Shares of different labels in a batch: numbers of samples, and not classes.
_NUMBERED, _CLASSES = 0.9, 0.5
#: Words in the names of loaders.
_TRAINING = frozenset({"train", "training", "trn", "tr", "pretrain", "calib", "calibration"})
_VALIDATION = frozenset({"val", "valid", "validation", "test", "testing", "dev", "eval", "evaluation"})

_DRAWN: WeakKeyDictionary[Recording, list[Batch]] = WeakKeyDictionary()


def unseen_batches(recording: Recording, trained: Sequence[Batch]) -> list[Batch]:
    """Batches of loaders that wait for validation, drawn once; none where the script has validated, or trains a second time.

    ``trained``: the batches that were trained on. Generators of random numbers, global and held by a dataset, are left as they were.
    """
    if recording not in _DRAWN:
        _DRAWN[recording] = _drawn(recording, trained)
    return _DRAWN[recording]


def _drawn(recording: Recording, trained: Sequence[Batch]) -> list[Batch]:
    train = list({id(b.iteration.loader): b.iteration.loader for b in trained if b.iteration is not None}.values())
    validated = any(entry not in train for entry in recording.loaders_of("val"))
    if not train or validated or recording.trained_before or not recording.backwards:
        return []
    idle = [e for e in recording.loaders if e not in train and all(not i.phase and i.batches < 2 for i in e.iterations)]
    if any(one.place == other.place and _shuffles(one) == _shuffles(other) for one in idle for other in train):
        return []  # loaders of several trainings: what validates one of them is trained on in others
    end = time.monotonic() + _SECONDS
    found: list[Batch] = []
    for entry in idle:
        try:
            if _may_validate(entry):
                with randomness_kept(), generators_kept(entry.loader.dataset, entry.loader.collate_fn), torch.no_grad():
                    seed_torch(0)
                    batches = _read(entry, end)
                if batches and _is_like(batches, trained) and not any(_is_same_data(entry, other, end) for other in train):
                    found += batches
        except Exception:  # what cannot be read by index is left alone
            continue
    return found


def _shuffles(entry: Loader) -> bool:
    sampler = sampler_of(entry.loader)
    return isinstance(sampler, RandomSampler | WeightedRandomSampler) or bool(getattr(sampler, "shuffle", False))


def _may_validate(entry: Loader) -> bool:
    """By its order, and by its name where that says something."""
    samples, words = Samples(entry.loader), _words(entry)
    if samples.iterable or not samples.single or not len(samples.pool) or words & _TRAINING:
        return False
    if not isinstance(sampler_of(entry.loader), SequentialSampler | SubsetRandomSampler | RandomSampler | DistributedSampler):
        return False  # a sampler of their own belongs to how they train
    return not _shuffles(entry) or bool(words & _VALIDATION)


def _words(entry: Loader) -> frozenset[str]:
    """Words of the one name that the line which built the loader assigns to."""
    file, line, _ = entry.place or ("", 0, "")
    tree = source_tree(file) if file else None
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Assign) and node.lineno <= line <= (node.end_lineno or 0) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                name = str(target.slice.value)
            return frozenset(name.lower().split("_"))
    return frozenset()


def _read(entry: Loader, end: float) -> list[Batch]:
    """Batches of samples from all over the dataset, read in this process; none where a sample changes by being read."""
    samples = Samples(entry.loader)
    pool, rows = samples.pool, min(entry.loader.batch_size or _ROWS, _ROWS)
    if differ([_raw(samples, pool[0]) for _ in range(2)]):
        return []
    read: list[Any] = []
    for position in spread(len(pool)):
        if len(read) >= _BATCHES * rows or time.monotonic() > end:
            break
        read.append(samples.raw(pool[position]))
    if len(read) < min(_FEWEST, len(pool)):
        return []
    iteration = Iteration(entry, -1, None)
    batches: list[Batch] = []
    for first in range(0, len(read), rows):
        leaves = _leaves(samples, read[first : first + rows])
        batches.append(Batch(iteration, leaves, {}, len(batches)))
        if sum(t.numel() * t.element_size() for t in leaves.values()) > _BYTES:
            break
    return batches


def _raw(samples: Samples, index: int) -> Any:
    """A sample under fixed random draws: what still differs, the dataset changes by itself."""
    with randomness_kept(), generators_kept(samples.dataset):
        seed_torch(0)
        return samples.raw(index)


def _leaves(samples: Samples, raw: list[Any]) -> dict[str, Tensor]:
    return {path: t.detach().clone() for path, t in tensor_leaves(samples.loader.collate_fn(raw))}


def _is_like(batches: Sequence[Batch], trained: Sequence[Batch]) -> bool:
    """Whether batches are built as those that were trained on, kinds and all, and have labels as these do."""
    mine = batches[0].leaves
    alike = [b.leaves for b in trained if b.leaves.keys() == mine.keys()]
    if not alike or not mine:
        return False
    for path, tensor in mine.items():
        others = [leaves[path] for leaves in alike if leaves[path].dtype == tensor.dtype and leaves[path].dim() == tensor.dim()]
        if not others:
            return False
        for axis in range(1, tensor.dim()):  # lengths to which training pads differ there too
            lengths = {t.shape[axis] for t in others}
            if len(lengths) == 1 and tensor.shape[axis] not in lengths:
                return False
        if describe(path, "other", tensor).kind != describe(path, "other", others[0]).kind:
            return False
        if tensor.dim() == 1 and not _has_labels(torch.cat([b.leaves[path] for b in batches]), torch.cat(others)):
            return False
    return True


def _has_labels(values: Tensor, others: Tensor) -> bool:
    """Whether one number a sample says something: it is not the same for all, nor the number of the sample where training has classes."""
    if len(values) < _FEWEST:
        return True
    different, usual = (len(torch.unique(t[: min(len(values), len(others))])) for t in (values, others))
    numbered = not values.is_floating_point() and different > _NUMBERED * len(values) and usual < _CLASSES * len(values)
    return not numbered and (different > 1 or usual == 1)


def _is_same_data(entry: Loader, other: Loader, end: float) -> bool:
    """Whether a loader reads the training data once more: the same indices of it, or a dataset built again over the same."""
    mine, theirs = Samples(entry.loader), Samples(other.loader)
    if theirs.iterable:
        return mine.dataset is theirs.dataset
    if mine.dataset is theirs.dataset:
        pool, others = mine.pool, theirs.pool
        return pool == others or len(set(pool[:1000]).intersection(others)) > len(pool[:1000]) / 2
    if type(mine.dataset) is not type(theirs.dataset) or len(mine.pool) != len(theirs.pool):
        return False
    compared = 0
    for position in np.linspace(0, len(mine.pool) - 1, _COMPARED).astype(int):
        with randomness_kept(), generators_kept(mine.dataset, theirs.dataset), torch.no_grad():
            one, first, again = mine[mine.pool[position]], theirs[theirs.pool[position]], theirs[theirs.pool[position]]
        steady = [path for path in first if torch.equal(first[path].nan_to_num(), again[path].nan_to_num())]
        if any(path not in one or not torch.equal(one[path].nan_to_num(), first[path].nan_to_num()) for path in steady):
            return False
        compared += 1
        if time.monotonic() > end + _SECONDS:
            break
    return compared > 0
