"""Short runs on training samples as they are augmented and as the validation data would be read, to see how much augmentation hides.

A shallow copy of the training dataset takes over what makes the validation dataset read its samples plainly: its transforms, its flags,
its amounts. Both runs see the same samples in the same order from the same weights; both are compared on other samples, read plainly.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.location import Location
from trainlint.measurements import Augmentation, ShortRun
from trainlint.probes.data.datasets import TRANSFORMS, Samples, size_of
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.made import made_at
from trainlint.probes.data.repeats import random_transforms
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import loaders_of, samples_of
from trainlint.probes.step.parts import batch_rows
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.training.short_training import CHECKS, FIRST_STEPS, Bench
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.structure import tensor_leaves

__all__ = ["measure_augmentation", "read_plainly"]

#: Steps of the runs that settle it, batches that they go round, and batches that the loss is compared on.
_LONGER, _BATCHES, _HELD_OUT = 80, 8, 2
#: Where a share of the loss larger than the inverse was learned, no run learns this many times as much: losses end at 0.
_FASTER = 4
#: Without augmentation this many times as much must be learned, for the longer runs to be made.
_WORTH_ASKING = 1.5
#: Samples that are read several times, how often, and the seconds that reading may take.
_LOOKED_AT, _TIMES, _SECONDS = 6, 3, 4.0

Fill = dict[int, Tensor]


def measure_augmentation(bench: Bench, lr: float, warm_up: int) -> Augmentation | None:
    """Compare learning with and without augmentation; None where nothing is augmented, or the data cannot be read without."""
    trial, flow = bench.trial, DataFlow(bench.trial.recording)
    train, val = loaders_of(flow, "train"), loaders_of(flow, "val")
    if not train or not val or not trial.tape.batch:
        return None
    entry = train[0]
    with randomness_kept(), generators_kept(entry.loader.dataset, entry.loader.collate_fn), torch.no_grad():
        plain = next((p for other in val[:4] if (p := _plain(flow, entry, other)) is not None), None)
        batches = _batches(trial, samples_of(entry), plain) if plain is not None else None
    if batches is None:
        return None
    augmented, plainly, held_out = batches
    fills = trial.fills
    try:
        return _compared(Bench(trial, bench.deadline, held_out), augmented, plainly, lr, warm_up, entry)
    finally:
        trial.fills = fills


def _compared(bench: Bench, augmented: list[Fill], plainly: list[Fill], lr: float, warm_up: int, entry: Loader) -> Augmentation:
    trial = bench.trial

    def run(fills: list[Fill], steps: int) -> ShortRun:
        trial.fills = fills
        return bench.run("augmented" if fills is augmented else "plain", lr=lr, steps=steps, warm_up=warm_up)

    trial.rewind()
    initial = bench.clean()
    own: ShortRun = run(augmented, FIRST_STEPS)
    free: ShortRun | None = None
    learned = initial - min(own.clean, default=initial)
    if not own.diverged and own.clean and learned * _FASTER < initial:
        free = run(plainly, FIRST_STEPS)
        if free.clean and initial - free.clean[-1] > _WORTH_ASKING * max(learned, 0.0):
            own, free = run(augmented, _LONGER), run(plainly, _LONGER)
    return Augmentation(
        where=_place(trial.recording, entry),
        transforms=tuple(random_transforms(entry.loader.dataset)),
        initial=initial,
        checks=CHECKS,
        augmented=own,
        plain=free,
    )


def _place(recording: Recording, entry: Loader) -> Location | None:
    """Where the dataset that was given its transforms was built; for one that augments by itself, where it makes its inputs."""
    if not any(random_transforms(entry.loader.dataset)):
        made = made_at(recording, entry)
        flow = DataFlow(recording)
        place = next((p for path, p in made.items() if flow.role(entry.index, path) == "input"), None)
        if place is not None:
            return recording.frames.location(place)
    return recording.frames.location(recording.dataset_place(entry))


def _plain(flow: DataFlow, entry: Loader, other: Loader) -> Any:
    """The training dataset as the validation data is read; None unless that takes the randomness away and nothing else."""
    mine, theirs = entry.loader.dataset, other.loader.dataset
    samples = samples_of(entry)
    if mine is theirs or samples.iterable or not samples.single or not len(samples.pool):
        return None
    plain = read_plainly(mine, theirs)
    if plain is mine:
        return None
    pool = samples.pool
    chosen = [pool[i] for i in np.linspace(0, len(pool) - 1, _LOOKED_AT).astype(int)]

    def read(dataset: Any, index: int) -> list[dict[str, Tensor]]:
        return [_read(samples, dataset, [index], seed) for seed in range(_TIMES)]

    try:
        augmented, plainly = ([read(dataset, i) for i in chosen] for dataset in (mine, plain))
    except Exception:
        return None
    roles = {path: flow.role(entry.index, path) for path in augmented[0][0]}
    single = {p for p, role in roles.items() if role == "target" and augmented[0][0][p].numel() == 1}
    varies = any(not _equal(one[0][p], again[p]) for one in augmented for again in one[1:] for p in one[0] if p not in single)
    steady = all(_equal(one[0][p], again[p]) for one in plainly for again in one[1:] for p in one[0])
    same = all(
        a[0].keys() == b[0].keys() and all(_equal(a[0][p], b[0][p]) for p in single) for a, b in zip(augmented, plainly, strict=True)
    )
    return plain if varies and steady and same else None


def read_plainly(mine: Any, theirs: Any, depth: int = 8) -> Any:
    """A copy of the training data's shells with the transforms, flags and amounts of the validation data's; ``mine`` where nothing differs."""
    held, other = (getattr(d, "__dict__", None) for d in (mine, theirs))
    if depth == 0 or mine is theirs or not isinstance(held, dict) or not isinstance(other, dict):
        return mine
    inner, their_inner = held.get("dataset"), other.get("dataset")
    if type(mine) is type(theirs):
        changed = {name: other[name] for name in held if name in other and _decides(name, held[name], other[name])}
    elif inner is None:  # a shell that only one of them has
        return read_plainly(mine, their_inner, depth - 1) if their_inner is not None else mine
    elif type(inner) is type(theirs) and size_of(inner) == size_of(mine):
        return read_plainly(inner, theirs, depth - 1)
    else:
        changed = {}
    within = read_plainly(inner, theirs if their_inner is None else their_inner, depth - 1) if inner is not None else None
    if within is not inner:
        changed["dataset"] = within
    if not changed:
        return mine
    try:
        twin = copy.copy(mine)
    except Exception:
        return mine
    twin.__dict__.update(changed)
    return twin


def _decides(name: str, mine: Any, theirs: Any) -> bool:
    """Whether an attribute says how samples are read, rather than which there are, and differs."""
    if mine is theirs:
        return False
    if name.strip("_") in TRANSFORMS:
        return True
    kinds = (bool, float, type(None))
    if isinstance(mine, kinds) and isinstance(theirs, kinds):
        return mine != theirs
    return (callable(mine) or mine is None) and (callable(theirs) or theirs is None)


def _batches(trial: Rehearsal, samples: Samples, plain: Any) -> tuple[list[Fill], list[Fill], list[Fill]] | None:
    """The same batches augmented and plain, and plain ones of other samples; None when reading takes too long."""
    rows = batch_rows(trial.tape, trial.fills[0])
    pool = samples.pool
    fewest = (_HELD_OUT + 2) * rows
    if not rows or len(pool) < fewest:
        return None
    order = [pool[int(i)] for i in np.random.RandomState(0).permutation(len(pool))[: (_HELD_OUT + _BATCHES) * rows]]
    parts = [order[i : i + rows] for i in range(0, len(order) - rows + 1, rows)]
    end = time.monotonic() + _SECONDS
    kept: list[list[Fill]] = [[], [], []]
    try:
        for number, part in enumerate(parts):
            wanted = ((2, plain),) if number < _HELD_OUT else ((0, samples.dataset), (1, plain))
            for place, dataset in wanted:
                fill = _fill(trial, _read(samples, dataset, part, number))
                if fill is None:
                    return None
                kept[place].append(fill)
            if time.monotonic() > end:
                break
    except Exception:
        return None
    augmented, plainly, held_out = kept
    return (augmented, plainly, held_out) if len(plainly) >= 2 else None


def _read(samples: Samples, dataset: Any, indices: Sequence[int], seed: int) -> dict[str, Tensor]:
    """A batch of these samples by path, random draws begun anew."""
    seed_all(seed)
    raw = dataset[list(indices)] if samples.by_lists else [dataset[i] for i in indices]
    return dict(tensor_leaves(samples.loader.collate_fn(raw)))


def _fill(trial: Rehearsal, leaves: dict[str, Tensor]) -> Fill | None:
    """What the tape is fed; None when shapes or types are others than those that were recorded."""
    tape = trial.tape
    if any(path not in leaves for path in tape.batch):
        return None
    fill = {slot: leaves[path] for path, slot in tape.batch.items()}
    recorded = {s: tape.outside[s] for s in fill}
    if any(t.dtype != recorded[s].dtype or t.shape[1:] != recorded[s].shape[1:] for s, t in fill.items()):
        return None
    return {s: t.to(recorded[s].device) for s, t in fill.items()}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
