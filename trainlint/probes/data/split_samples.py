"""Reads a few hundred samples of the training and of the validation data by index, and makes rows of features and targets of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainlint.measurements import Leaf
from trainlint.probes.data.datasets import Samples, is_rebuilt, label_vectors, size_of, spread
from trainlint.probes.data.features import features_of
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.randomness import draws_samples
from trainlint.probes.data.ridge import Rows, targets_of
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.random_state import randomness_kept, seed_torch
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["Split", "labels_by_root", "loaders_of", "read_split", "root_of", "samples_of"]

#: Samples that are read of each part, and the seconds for it; the fewest that are worth a look.
_MOST, _SECONDS, _FEWEST = 800, 2.5, 40
#: Samples with masks, which hold many labels each.
_MOST_MASKS = 200
#: Classes, or columns of targets, that are told apart: the most frequent ones.
_MOST_COLUMNS = 50
#: More different labels than this share of the samples are no classes.
_MOST_DIFFERENT = 0.2

#: Whole numbers of a sample that are ids side by side; more are a text, or a table.
_IDS = 4

Indices = npt.NDArray[np.int64]


@dataclass(eq=False)
class Split:
    """What was read of the training or of the validation data."""

    phase: str
    entry: Loader
    samples: Samples
    indices: Indices
    """Index of each sample in the loader's dataset, ascending."""
    roots: Indices
    """Index in the dataset under all subsets."""
    inputs: dict[str, list[Tensor]]
    kinds: dict[str, str]
    target: str
    """Path of the target."""
    kind: str
    """``classes``, ``values`` (numbers to predict), ``flags`` (several labels a sample) or ``masks``."""
    labels: Rows
    """``(n,)`` classes, ``(n, columns)`` values or flags; empty for masks."""
    masks: list[Tensor]
    total: int
    random: bool
    """Reading a sample again gives another picture of it."""
    features: Rows = field(default_factory=lambda: np.zeros((0, 0)))

    def columns(self, labels: Rows | None = None) -> Rows:
        """Targets ``(n, columns)`` for the probe, of these samples or of other labels of the same kind; zero where a label is NaN."""
        labels = self.labels if labels is None else labels
        if self.kind == "classes":
            return targets_of(labels, self.classes) * np.isfinite(labels)[:, None]
        known = np.isfinite(labels).all(1)
        made = np.zeros_like(labels)
        made[known] = np.apply_along_axis(_ranks, 0, labels[known]) if self.kind == "values" else labels[known] - labels[known].mean(0)
        return made

    @property
    def ids(self) -> bool:
        """Each input is a few ids, as of a user and an item: labels say which belong together, and whoever drew the samples chose their order."""
        return all(_is_id(tensors[0]) for tensors in self.inputs.values())

    @property
    def relates(self) -> bool:
        """Labels may say what two inputs have to do with each other: ids, or several inputs of numbers that are alike in kind and size."""
        alike = [(self.kinds[p], t[0].shape) for p, t in self.inputs.items() if _is_id(t[0]) or t[0].is_floating_point()]
        return self.ids or len(set(alike)) < len(alike)

    @property
    def classes(self) -> Rows:
        """Labels that occur at least twice, the most frequent ones, in ascending order."""
        values, counts = np.unique(self.labels[np.isfinite(self.labels)], return_counts=True)
        chosen = np.argsort(-counts, kind="stable")[:_MOST_COLUMNS]
        found: Rows = np.sort(values[chosen][counts[chosen] > 1])
        return found


def loaders_of(flow: DataFlow, phase: str) -> list[Loader]:
    """Loaders whose batches were trained on, or only looked at, each once."""
    kept = [b.iteration.loader for b in flow.batches if b.iteration is not None and flow.phase(b) == phase]
    unique: list[Loader] = []
    for entry in kept or flow.recording.loaders_of(phase):
        if not any(is_rebuilt(entry, other) for other in unique):
            unique.append(entry)
    return unique


def samples_of(entry: Loader) -> Samples:
    """The loader's samples by index, for samplers that hand out lists of indices too."""
    indices = next((i.indices for i in entry.iterations if i.indices), [])
    return Samples(entry.loader, by_lists=bool(indices) and isinstance(indices[0], list))


def root_of(dataset: Any, indices: Sequence[int] | Indices) -> tuple[Any, Indices]:
    """The dataset under all subsets, and these indices in it."""
    rows = np.asarray(indices, dtype=np.int64)
    for _ in range(8):
        chosen = getattr(dataset, "indices", None)
        inner = getattr(dataset, "dataset", None)
        if inner is None or chosen is None or size_of(dataset) is None:
            break
        try:
            if len(chosen) != len(dataset):
                break
            rows, dataset = np.asarray(chosen, dtype=np.int64)[rows], inner
        except Exception:
            break
    return dataset, rows


_READ: WeakKeyDictionary[Recording, dict[str, Split | str]] = WeakKeyDictionary()


def read_split(recording: Recording, phase: str, deadline: float) -> Split:
    """Samples of the loader that is used most in a phase; read once. Raises CannotMeasureError with the reason."""
    known = _READ.setdefault(recording, {})
    if phase not in known:
        try:
            with randomness_kept(), torch.no_grad():
                seed_torch(0)
                known[phase] = _read(DataFlow(recording), phase, min(deadline, time.monotonic() + _SECONDS))
        except CannotMeasureError as error:
            known[phase] = str(error)
    found = known[phase]
    if isinstance(found, str):
        raise CannotMeasureError(found)
    return found


def _read(flow: DataFlow, phase: str, end: float) -> Split:
    what = "training" if phase == "train" else "validation"
    entries = loaders_of(flow, phase)
    if not entries:
        raise CannotMeasureError(f"there is no {what} DataLoader whose samples could be read")
    entry = max(entries, key=lambda one: size_of(one.loader.dataset) or 0)
    samples = samples_of(entry)
    if samples.iterable or not samples.single:
        raise CannotMeasureError(f"the {what} data cannot be read sample by sample")
    leaves = _described(flow, entry)
    target = next(
        (leaf for kind in ("labels", "scalar", "mask", "table") for leaf in leaves if leaf.role == "target" and leaf.kind == kind), None
    )
    inputs = [leaf for leaf in leaves if leaf.role == "input"]
    if target is None or not inputs:
        raise CannotMeasureError(f"the {what} samples have no labels that belong to an input")
    pool = samples.pool
    order = list(pool[: 2**16])
    if draws_samples(samples, order, lambda path: flow.role(entry.index, path), end) and draws_samples(
        samples, order, lambda path: "target" if path == target.path else "other", end
    ):  # where each index keeps its label, the augmentation may be what leaves nothing else of a sample
        raise CannotMeasureError(f"the {what} dataset draws its samples at random, so that an index stands for none of them")
    return _gather(phase, entry, samples, inputs, target, end)


def _described(flow: DataFlow, entry: Loader) -> list[Leaf]:
    batch = next((b for b in flow.batches if b.iteration is not None and b.iteration.loader is entry), None)
    if batch is None:
        return []
    roles = {path: flow.role(entry.index, path) for path in batch.leaves}
    tokens = any(roles[path] == "input" and describe(path, "input", t).kind == "tokens" for path, t in batch.leaves.items())
    return [describe(path, roles[path], t, beside_tokens=tokens) for path, t in batch.leaves.items()]


def _gather(phase: str, entry: Loader, samples: Samples, inputs: Sequence[Leaf], target: Leaf, end: float) -> Split:
    pool = samples.pool
    most = _MOST_MASKS if target.kind == "mask" and len(target.shape) > 2 else _MOST
    read: dict[int, dict[str, Tensor]] = {}
    paths = [*(leaf.path for leaf in inputs), target.path]
    for position in spread(len(pool)):
        if len(read) >= most or (time.monotonic() > end and len(read) >= _FEWEST) or time.monotonic() > end + 2 * _SECONDS:
            break
        try:
            leaves = samples[pool[position]]
            read[pool[position]] = {path: leaves[path] for path in paths}
        except Exception as error:
            raise CannotMeasureError(f"sample {pool[position]} could not be read: {type(error).__name__}") from error
    if len(read) < _FEWEST:
        raise CannotMeasureError(f"{len(read)} samples are too few to tell whether labels belong to inputs ({_FEWEST} are needed)")
    indices = np.array(sorted(read), dtype=np.int64)
    rows = [read[int(i)] for i in indices]
    again = [samples[int(i)] for i in indices[:4]]
    split = Split(
        phase=phase,
        entry=entry,
        samples=samples,
        indices=indices,
        roots=root_of(samples.dataset, indices)[1],
        inputs={leaf.path: [row[leaf.path] for row in rows] for leaf in inputs},
        kinds={leaf.path: leaf.kind for leaf in inputs},
        target=target.path,
        kind="masks",
        labels=np.zeros(0),
        masks=[row[target.path] for row in rows],
        total=len(pool),
        random=any(not torch.equal(a[p], b[p]) for a, b in zip(rows, again, strict=False) for p in paths if a[p].shape == b[p].shape),
    )
    _name_targets(split, target)
    split.features = _features(split)
    return split


def _is_id(sample: Tensor) -> bool:
    return not sample.is_floating_point() and not sample.is_complex() and sample.numel() <= _IDS


def _name_targets(split: Split, target: Leaf) -> None:
    """Decide what kind of targets these are."""
    if target.kind == "mask" and len(target.shape) > 2:
        return
    try:
        values = torch.cat([t.detach().cpu().double().reshape(1, -1) for t in split.masks]).numpy()
    except (RuntimeError, TypeError) as error:
        raise CannotMeasureError("the targets of two samples have different shapes") from error
    if not np.isfinite(values).all() or values.shape[1] > 4 * _MOST_COLUMNS:
        raise CannotMeasureError("targets are not finite, or too many for each sample")
    if values.shape[1] > 1 and values.min() >= 0 and (np.abs(values.sum(1) - 1) < 1e-3).all():  # one-hot or soft classes
        split.kind, split.labels = "classes", values.argmax(1).astype(np.float64)
    elif values.shape[1] > 1:
        split.kind = "flags" if np.isin(values, (0.0, 1.0)).all() else "values"
        split.labels = values[:, :_MOST_COLUMNS]
    elif target.kind == "labels" or np.isin(values, (-1.0, 0.0, 1.0)).all():
        split.kind, split.labels = "classes", values[:, 0]
    else:
        split.kind, split.labels = "values", values
    different = len(np.unique(split.labels))
    if different < 2:
        raise CannotMeasureError("all labels are the same")
    if split.kind == "classes" and different > _MOST_DIFFERENT * len(values):
        raise CannotMeasureError(f"{different} different labels in {len(values)} samples are too many to be classes")


def _features(split: Split) -> Rows:
    """Features of all inputs side by side, each input weighing the same."""
    if split.kind == "masks":
        return np.zeros((0, 0))
    parts: list[Rows] = []
    try:
        for path, tensors in split.inputs.items():
            parts.append(features_of(tensors, split.kinds[path]))
    except Exception as error:
        raise CannotMeasureError(f"the inputs cannot be turned into features: {error}") from error
    return np.concatenate(parts, axis=1)


def labels_by_root(splits: Sequence[Split]) -> dict[int, Rows]:
    """Labels by index in the dataset under all subsets: from its own array where that agrees with what was read, else as read.

    By the id of that dataset; NaN where a label is not known.
    """
    found: dict[int, Rows] = {}
    for split in splits:
        root, _ = root_of(split.samples.dataset, split.indices)
        known = np.full((max(size_of(root) or 0, int(split.roots.max()) + 1), *split.labels.shape[1:]), np.nan)
        known[split.roots] = split.labels
        for vector in label_vectors(root) if known[:1].size == 1 else ():
            whole = vector.astype(np.float64).reshape(-1, *known.shape[1:])
            if len(whole) == len(known) and np.array_equal(whole[split.roots], split.labels):
                known = whole
                break
        merged = found.get(id(root))
        found[id(root)] = known if merged is None else np.where(np.isfinite(known), known, merged)
    return found


def _ranks(values: Rows) -> Rows:
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=order) / counts
    ranked: Rows = means[inverse] / max(len(values) - 1, 1) - 0.5
    return ranked
