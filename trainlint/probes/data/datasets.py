"""Reads a user's dataset: single samples as the loader would hand them out, labels, class names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from trainlint.record.seen import Loader
from trainlint.record.structure import tensor_leaves

__all__ = [
    "TRANSFORMS",
    "Samples",
    "class_names",
    "is_rebuilt",
    "is_used_up",
    "label_vectors",
    "normalisation",
    "normaliser_of",
    "sampler_of",
    "size_of",
    "spread",
    "transform_text",
    "wrapped",
]

#: Attributes under which datasets keep one label a sample (torchvision and its imitators).
_LABEL_NAMES = ("targets", "labels", "target", "label", "y", "_labels", "_targets")
#: Attributes under which datasets keep what changes a sample after it was read.
TRANSFORMS = ("transform", "transforms", "augment", "augmentation", "augmentations", "augmentor", "aug", "preprocess", "tfm", "tfms")
#: Labels that are looked at as one array; longer lists are read sample by sample.
_MOST_LABELS = 10_000_000

Numbers = npt.NDArray[Any]


def size_of(dataset: Any) -> int | None:
    """len(dataset); None when it has none."""
    try:
        return len(dataset)
    except Exception:
        return None


def spread(size: int, passes: int = 256) -> Iterator[int]:
    """Yield 0 … size-1, so that wherever one stops, what came is spread over the whole range; in order when ``size`` is small."""
    stride = -(-size // passes)
    step = next(s for s in range(max(1, round(stride * 0.618)), 2 * stride + 2) if math.gcd(s, stride) == 1)
    for turn in range(stride):
        yield from range(turn * step % stride, size, stride)


def wrapped(dataset: Any) -> Iterator[Any]:
    """Yield the dataset and those inside it (Subset, ConcatDataset, home-made wrappers), outermost first."""
    queue, seen = [dataset], set[int]()
    while queue and len(seen) < 16:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        held = getattr(current, "__dict__", {})
        for value in held.values() if isinstance(held, dict) else ():
            if isinstance(value, Dataset):
                queue.append(value)
            elif isinstance(value, list | tuple) and value and isinstance(value[0], Dataset):
                queue.extend(value[:4])


def sampler_of(loader: DataLoader[Any]) -> Any:
    """The sampler that decides the order, looked up inside batch samplers and the shells that frameworks put around them."""
    sampler: Any = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    for _ in range(8):
        inner = getattr(sampler, "batch_sampler", getattr(sampler, "sampler", None))
        if inner is None or inner is sampler or not hasattr(inner, "__iter__"):
            break
        sampler = inner
    return sampler


def is_rebuilt(entry: Loader, other: Loader) -> bool:
    """Whether two loaders are one, built anew by the same line over the same data."""
    mine, theirs = entry.loader.dataset, other.loader.dataset
    alike = mine is theirs or (type(mine) is type(theirs) and size_of(mine) == size_of(theirs))
    return entry is other or (entry.place == other.place and alike)


def is_used_up(dataset: Any) -> bool:
    """Whether iterating takes samples away for good: the dataset is an iterator, or holds one (a generator, an open file)."""
    if hasattr(dataset, "__next__") or not hasattr(dataset, "__iter__"):
        return True
    held = getattr(dataset, "__dict__", {})
    return any(hasattr(value, "__next__") for value in held.values())


def class_names(dataset: Any) -> dict[int, str]:
    """Names of the classes by label, from ``classes``, ``class_to_idx`` or a features object that knows its names."""
    for one in wrapped(dataset):
        with suppress(Exception):
            if isinstance(mapping := getattr(one, "class_to_idx", None), Mapping) and mapping:
                return {int(label): str(name) for name, label in mapping.items()}
            classes = getattr(one, "classes", None)
            if isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes):
                return dict(enumerate(classes))
            if isinstance(features := getattr(one, "features", None), Mapping):
                for feature in features.values():
                    if isinstance(names := getattr(feature, "names", None), list):
                        return dict(enumerate(map(str, names)))
    return {}


def transform_text(dataset: Any) -> str:
    """Text of the transform that the dataset, or one inside it, applies; empty when it has none."""
    for one in wrapped(dataset):
        with suppress(Exception):
            transform = getattr(one, "transform", None) or getattr(one, "transforms", None)
            if transform is not None:
                text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(transform))
                return re.sub(r"\s+", " ", text)[:500]
    return ""


def normalisation(dataset: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation, a channel each, by which a transform of the dataset normalises pictures; None when none says so."""
    found = normaliser_of(dataset)
    return found[1:] if found is not None else None


def normaliser_of(dataset: Any) -> tuple[Any, tuple[float, ...], tuple[float, ...]] | None:
    """The transform of the dataset that normalises pictures, its mean and its standard deviation."""
    queue: list[Any] = [value for one in wrapped(dataset) for value in getattr(one, "__dict__", {}).values()]
    for current in itertools.islice(_inside(queue), 256):
        for mean, std in (("mean", "std"), ("image_mean", "image_std")):
            with suppress(Exception):
                pair = tuple(_channels(getattr(current, name)) for name in (mean, std))
                if len(pair[0]) == len(pair[1]) and all(s > 0 for s in pair[1]) and pair != ((0.0,) * len(pair[0]), (1.0,) * len(pair[0])):
                    return current, pair[0], pair[1]
    return None


def _inside(queue: list[Any]) -> Iterator[Any]:
    """Yield transforms and the transforms that they are composed of."""
    while queue:
        current = queue.pop(0)
        if isinstance(current, list | tuple):
            queue.extend(current[:16])
        elif callable(current):
            yield current
            queue.extend(v for name in ("transforms", "transform") if (v := getattr(current, name, None)) is not None)


def _channels(value: Any) -> tuple[float, ...]:
    """One to four numbers; raises for anything else."""
    numbers = tuple(float(v) for v in (value.reshape(-1).tolist() if hasattr(value, "reshape") else value))
    if not 1 <= len(numbers) <= 4:
        raise ValueError
    return numbers


def label_vectors(dataset: Any) -> Iterator[Numbers]:
    """Yield arrays that may be the labels of the whole dataset by index; the caller must compare them with samples it has read."""
    size = size_of(dataset)
    if not size or size > _MOST_LABELS:
        return
    if isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices)
        for labels in label_vectors(dataset.dataset):
            yield labels[indices]
    elif isinstance(dataset, ConcatDataset):
        for parts in zip(*(label_vectors(part) for part in dataset.datasets), strict=False):
            yield np.concatenate(parts)
    elif isinstance(dataset, TensorDataset):
        yield from (found for t in dataset.tensors if (found := _as_labels(t, size)) is not None)
    else:
        columns = getattr(dataset, "column_names", ())
        for name in _LABEL_NAMES:
            held = getattr(dataset, name, None)
            if held is None and isinstance(columns, list) and name in columns:
                held = dataset[name][:]
            if (found := _as_labels(held, size)) is not None:
                yield found
        for inner in list(wrapped(dataset))[1:]:
            if size_of(inner) == size:
                yield from label_vectors(inner)


def _as_labels(value: Any, size: int) -> Numbers | None:
    if value is None or callable(value) or isinstance(value, str):
        return None
    with suppress(Exception):
        labels = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if labels.dtype.kind in "biuf" and labels.size == size:
            return labels.reshape(-1)
    return None


class Samples:
    """A loader's samples one at a time: each comes as the loader's batches do, with a first axis of one."""

    def __init__(self, loader: DataLoader[Any], *, by_lists: bool = False) -> None:
        self.loader = loader
        self.dataset: Any = loader.dataset
        self.by_lists = by_lists and loader.batch_sampler is None
        """The sampler hands lists of indices straight to the dataset."""

    @property
    def iterable(self) -> bool:
        """Whether there are no indices to ask for."""
        return isinstance(self.dataset, IterableDataset) or not hasattr(self.dataset, "__getitem__")

    @property
    def pool(self) -> Sequence[int]:
        """Indices that the loader can draw: those of a subset sampler, else all of the dataset."""
        sampler = sampler_of(self.loader)
        chosen = getattr(sampler, "indices", None) if isinstance(sampler, torch.utils.data.SubsetRandomSampler) else None
        if chosen is not None:
            return [int(i) for i in chosen]
        return range(size_of(self.dataset) or 0)

    @property
    def single(self) -> bool:
        """Whether an index stands for one sample; without automatic batching it may be a whole batch."""
        return self.loader.batch_sampler is not None or self.by_lists

    @property
    def stacked(self) -> bool:
        """Whether batches are plain stacks of samples."""
        return self.loader.collate_fn is torch.utils.data.default_collate and self.loader.batch_sampler is not None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.leaves(self.raw(index))

    def raw(self, index: int) -> Any:
        """What the dataset returns."""
        return self.dataset[[index] if self.by_lists else index]

    def leaves(self, sample: Any) -> dict[str, Tensor]:
        """A sample's tensors by their path in a batch. Raises what the loader's collate function raises."""
        return dict(tensor_leaves(self.batch(sample)))

    def batch(self, sample: Any) -> Any:
        """The batch of one sample. Raises what the loader's collate function raises."""
        return self.loader.collate_fn([sample] if self.loader.batch_sampler is not None else sample)
