"""How loaders cut their samples into batches, and which batch-norm layers would meet a batch of one sample."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from trainlint.measurements import LastBatch, LoaderEnd
from trainlint.probes.data.datasets import is_rebuilt, sampler_of, size_of
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.frames import Place
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_last_batch"]


def measure_last_batch(recording: Recording, deadline: float, settings: Settings) -> LastBatch:
    """Describe every loader that was iterated, or waits for validation, and that makes batches of one size."""
    waiting = {id(b.iteration.loader) for b in DataFlow(recording).unseen if b.iteration is not None}
    begun = [entry for entry in recording.loaders if entry.iterations or id(entry) in waiting]
    if not begun:
        msg = "the script iterates no DataLoader"
        raise CannotMeasureError(msg)
    unique: list[Loader] = []
    for entry in begun:
        if not any(is_rebuilt(entry, other) for other in unique):
            unique.append(entry)
    names = recording.module_names()
    single: dict[str, Place | None] = {}
    several: dict[str, Place | None] = {}
    for tape, op in _norms(recording):
        shape = tape.shapes.get(op.inputs[0], ())
        chosen = single if math.prod(shape[2:]) == 1 else several
        chosen[names.get(id(op.module), op.name)] = recording.places.get(id(op.module), op.place)
    return LastBatch(
        loaders=tuple(end for entry in unique if (end := _end(recording, entry, waits=id(entry) in waiting)) is not None),
        single=tuple(single),
        several=tuple(several),
        norm_where=recording.frames.location(next(iter({**several, **single}.values()), None)),
        trained=bool(recording.backwards),
    )


def _norms(recording: Recording) -> Iterator[tuple[Tape, Operation]]:
    """Batch-norm calls of the recorded steps that normalise by the batch, which is not so in eval mode."""
    tapes = [b.tape for b in recording.first_tapes if b.tape is not None] or [t for t in [recording.tape] if t is not None]
    for tape in tapes:
        for op in tape.operations:
            if op.name == "batch_norm" and op.inputs and (op.argument(5, "training", False)):
                yield tape, op


def _end(recording: Recording, entry: Loader, *, waits: bool) -> LoaderEnd | None:
    loader: DataLoader[object] = entry.loader
    size, drops = loader.batch_size, loader.drop_last
    if size is None and loader.batch_sampler is not None:
        size, drops = getattr(loader.batch_sampler, "batch_size", None), bool(getattr(loader.batch_sampler, "drop_last", False))
    samples = None if isinstance(loader.dataset, IterableDataset) else size_of(sampler_of(loader))
    if not isinstance(size, int) or size < 1 or not samples:
        return None
    phases = {i.phase for i in entry.iterations}
    nothing = not any(i.batches for i in entry.iterations)
    return LoaderEnd(
        phase="train" if "train" in phases else "val" if waits or "val" in phases else "empty" if nothing else "",
        samples=samples,
        batch_size=size,
        drop_last=drops,
        last=samples % size or size,
        shuffled=not isinstance(sampler_of(loader), SequentialSampler),
        where=recording.frames.location(entry.place),
    )
