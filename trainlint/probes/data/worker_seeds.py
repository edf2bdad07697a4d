"""Plays loader workers in this process, to see whether two of them, or one in two epochs, draw the same augmentation."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_convert
from torch.utils.data._utils import worker as torch_worker

from trainlint.measurements import WorkerSeeds
from trainlint.probes.data.data_scan import loaders_in
from trainlint.probes.data.datasets import Samples, is_used_up
from trainlint.probes.data.drawing import global_state, lines_that_change, states_of
from trainlint.probes.data.generators import generators_kept, held_generators, objects_within
from trainlint.probes.data.randomness import differ
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.value_source import attribute_set_at
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.source.statements import given_out_at
from trainlint.record.frames import Place
from trainlint.record.random_state import randomness_kept, seed_all
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.structure import tensor_leaves
from trainlint.settings import Settings

__all__ = ["measure_worker_seeds"]

#: Samples that are read, each twice, and how many of them must vary for equal readings to mean something.
_SAMPLES, _TELLING = 16, 6

Reading = list[dict[str, Tensor]]


def measure_worker_seeds(recording: Recording, deadline: float, settings: Settings) -> WorkerSeeds:
    """Play the workers of the first training loader."""
    entries = loaders_in(DataFlow(recording), "train")
    if not entries:
        msg = "the script trains without a DataLoader"
        raise CannotMeasureError(msg)
    entry = entries[0]
    loader = entry.loader
    samples = Samples(loader)
    if samples.iterable:
        return _streams(recording, entry)
    pool = samples.pool
    chosen = [pool[i] for i in range(0, len(pool), max(1, len(pool) // _SAMPLES))][:_SAMPLES]
    init = loader.worker_init_fn if loader.num_workers else None
    with randomness_kept(), generators_kept(loader.dataset, loader.collate_fn, init), torch.no_grad():
        try:
            one = _play(loader, chosen, base=41, worker=0, init=init)
            telling = [i for i in range(len(chosen)) if _differ(one[i], one[i + len(chosen)])]
            twin = _play(loader, chosen, base=41, worker=1, init=init) if telling else one
            later = _play(loader, chosen, base=97, worker=0, init=init) if telling else one
            same_in_workers = _same(one, twin, telling, len(chosen))
            same_in_epochs = _same(one, later, telling, len(chosen))
            by_init = False
            if init is not None and (same_in_workers or same_in_epochs):
                plain = [_play(loader, chosen, base=base, worker=worker, init=None) for base, worker in ((41, 0), (41, 1), (97, 0))]
                by_init = not (_same(plain[0], plain[1], telling, len(chosen)) and _same(plain[0], plain[2], telling, len(chosen)))
            resets = tuple(_resets(samples, chosen))
            drawn = None
            if resets or same_in_workers or same_in_epochs:
                drawn = _seeded_at(recording, samples, chosen, resets) if resets else _drawn_at(recording, samples, chosen, by_init)
        except Exception as error:
            msg = f"the training samples could not be read as a worker does ({type(error).__name__})"
            raise CannotMeasureError(msg) from error
    held = dict.fromkeys(
        f"{type(g).__module__.split('.')[0]}.{type(g).__name__}" for g in held_generators(loader.dataset, loader.collate_fn)
    )
    again, seeded = _begins_again(entry)
    return WorkerSeeds(
        begins_again=again,
        seeded_where=recording.frames.location(seeded),
        workers=loader.num_workers,
        random=bool(telling),
        same_in_workers=same_in_workers,
        same_in_epochs=same_in_epochs,
        samples=len(telling),
        resets=resets,
        held=tuple(held),
        by_init=by_init,
        persistent=loader.persistent_workers,
        where=recording.frames.location(entry.place if by_init else recording.dataset_place(entry)),
        drawn_where=recording.frames.location(drawn),
    )


def _seeded_at(recording: Recording, samples: Samples, indices: Sequence[int], kinds: Sequence[str]) -> Place | None:
    """The line that leaves a global generator in one state, whichever it had before and whatever sample is read."""
    after: dict[Place, list[Any]] = {}
    for turn, index in enumerate(indices[:3]):
        seed_all(6000 + turn)
        for place, states in lines_that_change(partial(samples.raw, index), recording.frames, global_state):
            after.setdefault(place, []).append(states[kinds[0]])
    return next((place for place, states in after.items() if len(states) > 1 and all(s == states[0] for s in states)), None)


def _drawn_at(recording: Recording, samples: Samples, indices: Sequence[int], by_init: bool) -> Place | None:
    """Where the dataset makes the generator that it holds, or first draws from it; the line that seeds, when ``worker_init_fn`` does."""
    loader, frames = samples.loader, recording.frames
    if by_init and loader.worker_init_fn is not None:
        dataset = _twin(loader.dataset)
        drawn = _drawn_from(samples, indices)
        with _worker(dataset, 0, loader.num_workers, 41):
            changes = lines_that_change(
                partial(loader.worker_init_fn, 0), frames, lambda: {k: v for k, v in global_state().items() if k in drawn}
            )
        return changes[0][0] if changes else None
    held = held_generators(loader.dataset, loader.collate_fn)
    for holder in objects_within(loader.dataset):
        kept = [name for name, value in getattr(holder, "__dict__", {}).items() if any(value is one for one in held)]
        if kept and (place := attribute_set_at(holder, kept[0], frames)) is not None:
            return place
    for index in indices:
        if changes := lines_that_change(partial(samples.__getitem__, index), frames, partial(states_of, held)):
            return changes[0][0]
    return None


def _drawn_from(samples: Samples, indices: Sequence[int]) -> set[str]:
    """The global generators that samples draw from."""
    before = global_state()
    for index in indices:
        samples[index]
    return {kind for kind, state in global_state().items() if state != before[kind]}


def _begins_again(entry: Loader) -> tuple[tuple[str, ...], Place | None]:
    """The global generators that were drawn from in the first training pass and began the second in its state, and what seeded torch's."""
    first, second = ([i for i in entry.iterations if i.phase == "train"] + [None, None])[:2]
    if first is None or second is None:
        return (), None
    again = tuple(n for n, state in first.generators.items() if n in first.drawn and second.generators.get(n) == state)
    return again, second.seeded_at if "torch" in again else None


def _streams(recording: Recording, entry: Loader) -> WorkerSeeds:
    """What two workers read first of an IterableDataset: the same, where nothing shares it out between them."""
    loader = entry.loader
    dataset: Any = loader.dataset
    if loader.num_workers < 2 or is_used_up(dataset):
        msg = "training data is an IterableDataset, which cannot be asked for a sample by index"
        raise CannotMeasureError(msg)
    with randomness_kept(), generators_kept(dataset, loader.collate_fn, loader.worker_init_fn), torch.no_grad():
        try:
            one, twin = (_begin_stream(loader, worker) for worker in (0, 1))
        except Exception as error:
            msg = f"the training stream could not be read as a worker does ({type(error).__name__})"
            raise CannotMeasureError(msg) from error
    code = getattr(type(dataset).__iter__, "__code__", None)
    own = code is not None and recording.frames.is_user(code.co_filename)
    where = (code.co_filename, code.co_firstlineno, code.co_name) if code is not None and own else entry.place
    if any(not sample for sample in (*one, *twin)) or any(not _differ(a, b) for a, b in itertools.pairwise(one)):
        msg = "samples of the stream hold no tensors, or repeat themselves"
        raise CannotMeasureError(msg)
    shared = sum(any(not _differ(sample, other) for other in twin) for sample in one)
    return WorkerSeeds(
        workers=loader.num_workers,
        stream=min(len(one), len(twin)),
        stream_shared=shared,
        where=recording.frames.location(where),
        drawn_where=recording.frames.location(given_out_at(code)) if code is not None and own else None,
    )


def _begin_stream(loader: DataLoader[Any], worker: int) -> Reading:
    """The first samples that a worker gets."""
    dataset: Any = _twin(loader.dataset)
    seed_all(41 + worker)
    with _worker(dataset, worker, loader.num_workers, 41 + worker):
        if loader.worker_init_fn is not None:
            loader.worker_init_fn(worker)
        return [dict(tensor_leaves(default_convert(sample))) for sample in itertools.islice(dataset, _SAMPLES)]


def _play(loader: DataLoader[Any], indices: Sequence[int], *, base: int, worker: int, init: Any) -> Reading:
    """What a worker reads: these samples, and once more."""
    with generators_kept(loader.dataset, loader.collate_fn, init):
        dataset: Any = _twin(loader.dataset)
        seed_all(base + worker)
        with _worker(dataset, worker, max(loader.num_workers, 2), base + worker):
            if init is not None:
                init(worker)
            batched = loader.batch_sampler is not None
            raw = (dataset[index] for index in (*indices, *indices))
            return [dict(tensor_leaves(loader.collate_fn([sample] if batched else sample))) for sample in raw]


def _twin(dataset: Any, depth: int = 0) -> Any:
    """A copy in which a worker's init function can set attributes; the data itself is shared."""
    twin = copy.copy(dataset)
    held = getattr(twin, "__dict__", {})
    for name, value in list(held.items()) if depth < 8 else ():
        if isinstance(value, Dataset):
            held[name] = _twin(value, depth + 1)
    return twin


@contextmanager
def _worker(dataset: Any, worker: int, workers: int, seed: int) -> Iterator[None]:
    """Let ``get_worker_info()`` answer as it does in a worker."""
    before = torch_worker._worker_info
    torch_worker._worker_info = torch_worker.WorkerInfo(id=worker, num_workers=workers, seed=seed, dataset=dataset)
    try:
        yield
    finally:
        torch_worker._worker_info = before


def _differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() != other.keys() or any(differ([one[path], other[path]]) for path in one)


def _same(one: Reading, other: Reading, telling: Sequence[int], count: int) -> bool:
    """Whether both readings of all samples that vary are equal."""
    places = [i + turn for i in telling for turn in (0, count)]
    return len(telling) >= _TELLING and not any(_differ(one[i], other[i]) for i in places)


def _resets(samples: Samples, indices: Sequence[int]) -> Iterator[str]:
    """Yield the global generators that are in one state after any sample, whatever their state before."""
    states: list[tuple[Any, Any, Any]] = []
    for turn, index in enumerate((*indices[:3], *indices[:3])):
        seed_all(5000 + turn)
        samples.raw(index)
        legacy = np.random.get_state()
        states.append((torch.get_rng_state().tolist(), (legacy[1].tolist(), legacy[2]), random.getstate()))  # type: ignore[index]
    for kind, after in zip(("torch", "numpy", "random"), zip(*states, strict=True), strict=True):
        if len(indices) > 2 and all(state == after[0] for state in after):
            yield kind
