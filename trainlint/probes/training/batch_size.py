"""The size of the batch against batch normalisation, the data, and the noise of the gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sized

import torch
from torch import Tensor

from trainlint.measurements import BatchSize, NormLayer
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.run.schedulers import steps_per_epoch
from trainlint.probes.step.replay import rehearsal
from trainlint.probes.training.regularisers import unregularised
from trainlint.probes.training.short_training import PARTS, part_of
from trainlint.record.random_state import seed_torch
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader
from trainlint.record.structure import batch_size as size_of
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_batch_size"]

#: Batches whose gradients are compared, and the fewest that say something.
_GRADIENTS, _FEWEST = 6, 4


def measure_batch_size(recording: Recording, deadline: float, settings: Settings) -> BatchSize:
    """Read sizes off the loader and the tape; estimate the noise scale from the gradients of the recorded batches."""
    loaders = recording.loaders_of("train")
    loader = loaders[0] if loaders else None
    size = _size(recording, loader)
    tape = recording.tape or next((b.tape for b in recording.first_tapes if b.tape is not None), None)
    scale, gradients = _noise_scale(recording, size, deadline)
    return BatchSize(
        batch_size=size,
        where=recording.frames.location(loader.place if loader is not None else None),
        dataset_size=_length(loader.loader.dataset) if loader is not None else None,
        steps_per_epoch=steps_per_epoch(recording),
        epochs=next((entry.planned for entry in loaders), None),
        norms=tuple(_norms(recording, tape)) if tape is not None else (),
        noise_scale=scale,
        gradients=gradients,
    )


def _size(recording: Recording, loader: Loader | None) -> int | None:
    """Samples of the largest recorded training batch: a last batch may be smaller."""
    sizes = [size_of(b.leaves) for b in recording.batches if b.iteration is not None and b.iteration.phase == "train" and b.leaves]
    known = [s for s in sizes if s]
    given = loader.loader.batch_size if loader is not None else None
    return max(known, default=given)


def _length(dataset: object) -> int | None:
    try:
        return len(dataset) if isinstance(dataset, Sized) else None
    except (TypeError, NotImplementedError, RuntimeError):
        return None


def _norms(recording: Recording, tape: Tape) -> Iterator[NormLayer]:
    """Batch normalisations that use the statistics of the batch."""
    names = recording.module_names()
    for op in tape.operations:
        if op.name != "batch_norm" or op.argument(5, "training", False) is not True:
            continue
        shape = tape.shapes.get(op.inputs[0], ())
        if len(shape) < 2:
            continue
        values = shape[0]
        for extent in shape[2:]:
            values *= extent
        module = op.module
        yield NormLayer(
            module=names.get(id(module), "") if module is not None else "",
            kind=type(module).__name__ if module is not None else op.name,
            samples=shape[0],
            values=values,
            where=recording.frames.location(recording.places.get(id(module)) or op.place),
        )


def _noise_scale(recording: Recording, size: int | None, deadline: float) -> tuple[float | None, int]:
    """The simple noise scale tr(S) / |G|^2, from the gradients of batches of equal size, or of their quarters: the least that it may be.

    |G|^2 is taken at two standard errors above its estimate, which gradients that are nearly all noise leave wide open. None when there are too few.
    """
    if not size:
        return None, 0
    lengths = 0.0
    dots: list[float] = []
    total: list[Tensor] = []
    try:
        with rehearsal(recording, batches=True) as trial:
            whole = trial.fills = trial.fills[:_GRADIENTS]
            trial.fills = part_of(trial) or whole
            size = size if trial.fills is whole else size // PARTS
            for fill in trial.fills:
                if time.monotonic() > deadline:
                    break
                seed_torch(0)
                gradients = trial.gradients(trial.loss(fill, change=unregularised))
                flat = [_flat(g, t) for g, t in zip(gradients, trial.leaves, strict=True)]
                lengths += sum(float(g.dot(g)) for g in flat)
                dots.append(sum(float(t.dot(g)) for t, g in zip(total, flat, strict=False)))
                total = [t + g for t, g in zip(total, flat, strict=True)] if total else flat
    except (CannotMeasureError, RuntimeError):
        return None, 0
    count = len(dots)
    if count < _FEWEST:
        return None, count
    # The k-th gradient's product with the sum of those before it is k times an estimate of |G|^2.
    pairs = count * (count - 1) / 2
    signal = sum(dots) / pairs
    error = math.sqrt(sum(k * (dots[k] / k - signal) ** 2 for k in range(1, count)) / ((count - 2) * pairs))
    noise, most = size * (lengths / count - signal), signal + 2 * error
    return (noise / most if most > 0 and noise >= 0 else None), count


def _flat(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros(leaf.numel(), dtype=torch.float32, device=leaf.device)
    return gradient.detach().to_dense().float().flatten() if gradient.is_sparse else gradient.detach().float().flatten()
