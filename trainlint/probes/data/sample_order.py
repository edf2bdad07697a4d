"""Looks at the order in which the training loader hands out samples, and at the labels in that order."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DistributedSampler

from trainlint.measurements import SampleOrder
from trainlint.probes.data.datasets import Samples, is_rebuilt, is_used_up, label_vectors, sampler_of, size_of, spread
from trainlint.probes.data.epoch_orders import MOST, epochs_of, flat, handed_out_at, likeness
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.predict_order import mixed_predictions
from trainlint.probes.data.randomness import draws_samples
from trainlint.probes.data.reseeding import reseeding, sampler_seeded_at
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.sampler_reach import reach_of, sampler_built_at
from trainlint.probes.data.single_valued import single_valued
from trainlint.probes.data.streams import streamed_at
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Iteration, Loader
from trainlint.settings import Settings

__all__ = ["expected_runs", "measure_sample_order"]

#: Seconds for reading labels sample by sample, and for reading some samples repeatedly.
_SECONDS = 1.5
#: Samples from all over the dataset that its own array of labels must agree with; the fewest, where reading takes long.
_AGREE, _FEWEST = 32, 4
#: Steps on the only batch that a loader was asked for, from which it is all that the script trains on.
_STEPS_ON_ONE = 6
#: Likeness of two epochs from which on the beginning of one has the labels of the other's, and not those of the whole dataset.
_ALIKE = 0.9


def measure_sample_order(recording: Recording, deadline: float, settings: Settings) -> SampleOrder:
    """Order, labels in order and repetition of the loader that trains most."""
    loaders = recording.loaders_of("train")
    again = reseeding(recording)
    kind, where = (again.kind, recording.frames.location(again.stack[0])) if again is not None else ("", None)
    if not loaders and recording.seeds.drawn and not recording.own_loop:
        return SampleOrder(drawn=tuple(sorted(recording.seeds.drawn)), reseeded=kind, reseeded_where=where)
    if not loaders:
        raise CannotMeasureError("the script trains without a DataLoader, so the order of samples is in its own hands")
    most = max(loaders, key=lambda one: sum(i.backwards for i in one.iterations))
    entries = [one for one in loaders if is_rebuilt(one, most)]
    passes = [i for one in entries for i in one.iterations]
    if sum(i.batches for i in passes) == 1 and sum(i.backwards for i in passes) >= _STEPS_ON_ONE:
        raise CannotMeasureError("the script takes one batch from its loader and trains on that alone, so no order of samples matters")
    end = min(deadline, time.monotonic() + 2 * _SECONDS)
    with randomness_kept(), torch.no_grad():
        return replace(
            _measure(recording, entries, end),
            reseeded=kind,
            reseeded_where=where,
            predictions_mixed=recording.frames.location(mixed_predictions(recording)),
        )


def _measure(recording: Recording, entries: Sequence[Loader], end: float) -> SampleOrder:
    entry = entries[0]
    loader = entry.loader
    passes = sorted((i for one in entries for i in one.iterations if i.phase == "train"), key=lambda i: i.begun)
    sampler = sampler_of(loader)
    recorded = [list(flat(i.indices))[:MOST] for i in passes[:2]]
    indices = next((i.indices for i in passes if i.indices), [])
    samples = Samples(loader, by_lists=bool(indices) and isinstance(indices[0], list))
    told = entry.set_epoch or any(h.kind == "set_epoch" for h in recording.happenings) or bool(getattr(sampler, "epoch", 0))
    first, second, same = ([], [], None) if samples.iterable else epochs_of(loader, recorded, size_of(loader.dataset), told=told)
    alike = likeness(first, second)
    flow = DataFlow(recording)
    path = _label_path(flow, entry)
    batch_size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or (len(indices[0]) if samples.by_lists else None)
    labels, everywhere = (
        _labels(samples, first, path, min(end, time.monotonic() + _SECONDS)) if path and first and samples.single else ([], [])
    )
    if samples.iterable and path:
        labels = _labels_of_stream(samples, path, min(end, time.monotonic() + _SECONDS))
    if not labels and path:
        labels = _recorded_labels(recording, passes[0], path)
    expected, deviation = expected_runs(labels, everywhere if (same or (alike or 0) > _ALIKE) and len(everywhere) > len(labels) else ())
    runs = sum(1 for _ in itertools.groupby(labels))
    single = single_valued(flow, entry)
    distributed = isinstance(sampler, DistributedSampler) or "Distributed" in type(sampler).__name__
    return SampleOrder(
        where=recording.frames.location(entry.place),
        sampler=type(sampler).__name__,
        dataset=type(loader.dataset).__name__,
        size=None if samples.iterable else size_of(loader.dataset),
        batch_size=batch_size,
        iterable=samples.iterable,
        first_epoch=tuple(first),
        second_epoch=tuple(second),
        sequential=len(first) > 1 and all(b - a == 1 for a, b in itertools.pairwise(first)),
        same_each_epoch=same,
        epochs_alike=alike,
        labels=tuple(labels),
        label_runs=runs,
        expected_runs=expected,
        runs_z=(runs - expected) / deviation if deviation else 0.0,
        batch_label_share=_share_in_batches(labels, batch_size),
        overall_label_share=_top_share(everywhere or labels) if labels else None,
        single_batches=len(single),
        single_values=len(set(single)),
        random_dataset=not samples.iterable and draws_samples(samples, first, lambda p: flow.role(entry.index, p), end),
        epoch_size=size_of(loader.sampler) if isinstance(loader.batch_sampler, BatchSampler) else None,
        reach=reach_of(sampler),
        sampler_where=recording.frames.location(sampler_built_at(entry, sampler)),
        streamed_where=recording.frames.location(streamed_at(samples, recording.frames)),
        handed_where=recording.frames.location(handed_out_at(loader, recording.frames)),
        seeded_where=sampler_seeded_at(recording, sampler),
        distributed=distributed,
        set_epoch_called=told if distributed else None,
    )


def expected_runs(labels: Sequence[float], everywhere: Sequence[float] = ()) -> tuple[float, float]:
    """Mean and standard deviation of the number of runs when these labels come in random order.

    Mood, The distribution theory of runs, 1940 (https://doi.org/10.1214/aoms/1177731825), for any number of kinds; for two it is
    the test of Wald and Wolfowitz. When the labels are only the beginning of a fixed order, ``everywhere`` gives the labels of the
    whole dataset, and the beginning is compared with as many draws from those.
    """
    n = len(labels)
    if n < 2:
        return float(n), 0.0
    counts = Counter(everywhere or labels).values()
    if not everywhere:
        squares, cubes = sum(c * c for c in counts), sum(c**3 for c in counts)
        variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n * n * (n - 1))
        return n - squares / n + 1, math.sqrt(max(variance, 0.0))
    shares = [c / len(everywhere) for c in counts]
    alike, threefold = sum(p * p for p in shares), sum(p**3 for p in shares)
    change = 1 - alike
    variance = (n - 1) * change * alike + 2 * (n - 2) * (1 - 2 * alike + threefold - change * change)
    return 1 + (n - 1) * change, math.sqrt(max(variance, 0.0))


def _label_path(flow: DataFlow, entry: Loader) -> str:
    """Path of the target that holds one class a sample; empty when there is none."""
    batch = next((b for b in flow.recording.batches if b.iteration is not None and b.iteration.loader is entry), None)
    for path, tensor in (batch.leaves if batch else {}).items():
        if flow.role(entry.index, path) == "target" and describe(path, "target", tensor).kind == "labels":
            return path
    return ""


def _labels(samples: Samples, order: Sequence[int], path: str, end: float) -> tuple[list[float], list[float]]:
    """``(labels in order, labels of the whole dataset)``, as far as they could be read.

    A dataset's own array of labels is taken once it agreed with samples from all over the dataset; else samples are read one by one.
    """
    ordered: list[float] = []
    pool = samples.pool
    read: dict[int, float] = {}
    with suppress(Exception):
        middle = time.monotonic() + (end - time.monotonic()) / 2
        for position in itertools.islice(spread(len(pool), _AGREE), MOST):
            if time.monotonic() > middle:
                break
            read[pool[position]] = _one(samples[pool[position]][path])
            if len(read) == _AGREE and _agreeing(samples, read) is not None:
                break
        if len(read) >= min(_FEWEST, len(pool)) and (vector := _agreeing(samples, read)) is not None:
            everywhere = vector if isinstance(pool, range) else vector[np.asarray(pool)]
            return vector[np.asarray(order)].tolist(), everywhere.tolist()
        for index in order:
            if time.monotonic() > end:
                break
            ordered.append(read[index] if index in read else _one(samples[index][path]))
    return ordered, list(read.values())


def _labels_of_stream(samples: Samples, path: str, end: float) -> list[float]:
    """Labels in the order of one more pass over an iterable dataset; empty where a pass takes samples away for good."""
    found: list[float] = []
    if is_used_up(samples.dataset) or not samples.single:
        return found
    with suppress(Exception):
        for sample in itertools.islice(samples.dataset, MOST):
            if time.monotonic() > end:
                break
            found.append(_one(samples.leaves(sample)[path]))
    return found


def _agreeing(samples: Samples, read: Mapping[int, float]) -> npt.NDArray[np.float64] | None:
    indices, values = np.fromiter(read, np.int64), np.fromiter(read.values(), np.float64)
    for vector in label_vectors(samples.dataset):
        if np.array_equal(vector[indices], values):
            return vector.astype(np.float64)
    return None


def _one(tensor: Tensor) -> float:
    return float(tensor.reshape(-1)[0])


def _recorded_labels(recording: Recording, iteration: Iteration, path: str) -> list[float]:
    """Labels of the first epoch's recorded batches."""
    batches = [b for b in recording.batches if b.iteration is iteration and path in b.leaves]
    return [float(v) for b in batches for v in b.leaves[path].reshape(-1).tolist()][:MOST]


def _top_share(labels: Sequence[float]) -> float:
    return max(Counter(labels).values()) / len(labels)


def _share_in_batches(labels: Sequence[float], batch_size: int | None) -> float | None:
    if not labels or not batch_size or batch_size < 2:
        return None
    batches = [labels[start : start + batch_size] for start in range(0, len(labels), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    return sum(map(_top_share, full)) / len(full) if full else None
