"""Whether each tag of a sequence stands beside its own token, in samples as the loader hands them out and the loss takes them.

Tags are moved against tokens as the loop does it, where it cuts tokens, predictions or tags before the loss compares them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainlint.measurements import ShiftedTags
from trainlint.probes.data.datasets import Samples, size_of, spread
from trainlint.probes.data.made import made_at
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import loaders_of, samples_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.stretches import Stretch, stretch_of
from trainlint.probes.labels.tag_table import Ids, displaced_tags
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.predictions import Prediction, predictions
from trainlint.probes.step.sources import looked_up, position_of
from trainlint.probes.step.spread import NOISE
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["shifted_tags"]

#: Samples that are read of a part, the fewest, and seconds for them.
_MOST, _FEWEST, _SECONDS = 300, 30, 0.3


@dataclass(frozen=True)
class _Scored:
    """Tags of the batch that a loss compares with predictions, and the places that it takes of both."""

    path: str
    prediction: Prediction
    tags: Stretch
    scores: Stretch


def shifted_tags(recording: Recording, deadline: float) -> ShiftedTags | None:
    """The first part whose tags belong to the tokens beside theirs; None where they do not, or where that cannot be known."""
    tape = recording.tape
    scored = list(_scored(recording, tape)) if tape is not None else []
    if tape is None or not scored:
        return None
    flow = DataFlow(recording)
    for phase in ("train", "val"):
        entry = max(loaders_of(flow, phase), key=lambda one: size_of(one.loader.dataset) or 0, default=None)
        batch = next((b for b in flow.batches if b.iteration is not None and b.iteration.loader is entry), None)
        if entry is None or batch is None:
            continue
        samples = samples_of(entry)
        for one in scored:
            target = one.path
            words = [
                path
                for path, t in batch.leaves.items()
                if target in batch.leaves and _is_tagged(t, batch.leaves[target]) and flow.role(entry.index, path) == "input"
            ]
            if not words or samples.iterable or not samples.single:
                continue
            with randomness_kept(), torch.no_grad(), suppress(CannotMeasureError):
                read = _read(samples, [*words, target], min(deadline, time.monotonic() + _SECONDS))
                for path in words:
                    taken = _taken(tape, path)
                    tokens = [one.scores.of(taken.of(row)) for row in read[path]] if taken is not None else []
                    tags = [one.tags.of(row) for row in read[target]]
                    if not tokens or len(tokens[0]) != len(tags[0]):
                        continue
                    found = displaced_tags(tokens, tags)
                    if found is None or (found.shift > 0 and not _looks_ahead(recording, tape, path, one.prediction)):
                        continue  # of a token that the model has not seen yet, tags are a forecast
                    where = one.tags.place or one.scores.place or made_at(recording, entry).get(target) or recording.dataset_place(entry)
                    return ShiftedTags(
                        phase=phase,
                        shift=found.shift,
                        accuracy=found.accuracy,
                        own_accuracy=found.own_accuracy,
                        base=found.base,
                        z=found.z,
                        sequences=found.sequences,
                        places=found.places,
                        where=recording.frames.location(where),
                        path=target,
                    )
    return None


def _is_tagged(words: Tensor, tags: Tensor) -> bool:
    whole = not (words.is_floating_point() or tags.is_complex() or words.is_complex()) and words.dtype is not torch.bool
    return whole and words.dim() == 2 and words.shape == tags.shape and words is not tags


def _read(samples: Samples, paths: Sequence[str], end: float) -> dict[str, list[Ids]]:
    """Sequences by path. Raises CannotMeasureError where samples are no single sequences."""
    found: dict[str, list[Ids]] = {path: [] for path in paths}
    pool = samples.pool
    for count, position in enumerate(spread(len(pool))):
        if count >= _MOST or (count >= _FEWEST and time.monotonic() > end):
            break
        try:
            leaves = samples[pool[position]]
            given = [leaves[path].detach().cpu().reshape(-1) for path in paths]
            rows = [t.to(torch.int64).numpy() for t in given]
        except Exception as error:
            raise CannotMeasureError(f"sample {pool[position]} could not be read: {type(error).__name__}") from error
        whole = all(not t.is_floating_point() or bool((t == t.round()).all()) for t in given)
        if not whole or len({len(row) for row in rows}) > 1 or len(rows[0]) != max(leaves[paths[0]].shape):
            raise CannotMeasureError("a sample is no sequence with a tag for each token")
        for path, row in zip(paths, rows, strict=True):
            found[path].append(np.asarray(row))
    return found


def _scored(recording: Recording, tape: Tape) -> Iterator[_Scored]:
    """What losses compare: all places, those that a mask leaves, or one stretch."""
    backward = recording.tape_backward
    leaves = backward.batch.leaves if backward is not None and backward.batch is not None else {}
    paths = {slot: path for path, slot in tape.batch.items() if path in leaves and leaves[path].dim() == 2}
    for prediction in predictions(tape, max((len(t) for t in leaves.values() if t.dim()), default=1)):
        tags = stretch_of(tape, prediction.target) if prediction.target is not None else None
        scores = stretch_of(tape, prediction.slot)
        if tags is not None and scores is not None and tags.origin in paths:
            yield _Scored(paths[tags.origin], prediction, tags, scores)


def _taken(tape: Tape, path: str) -> Stretch | None:
    """The places of a token tensor that are looked up."""
    leaf = tape.batch.get(path)
    for op in tape.operations:
        ids = looked_up(op, tape)
        stretch = stretch_of(tape, ids) if ids is not None else None
        if stretch is not None and stretch.origin == leaf:
            return stretch
    return None


def _looks_ahead(recording: Recording, tape: Tape, path: str, prediction: Prediction) -> bool:
    """Whether predictions depend on later tokens."""
    backward, leaf = recording.tape_backward, tape.batch.get(path)
    if backward is None or leaf is None:
        return False
    exchange = Exchange(tape, backward, recording)
    before = exchange.begin((prediction.slot,))[prediction.slot]
    labels = exchange.labels.get(prediction.target if prediction.target is not None else -1)
    source = next((s for s in exchange.sources if s.leaf == leaf), None)
    if labels is None or source is None:
        return False
    place = int(position_of(source.labels).max()) // 2
    change = prediction.changes(before, exchange.disturbed(leaf, place, (prediction.slot,))[prediction.slot])
    where = position_of(labels)
    earlier = change[(where >= 0) & (where < place)] if change.shape == where.shape else change[:0]
    return bool(earlier.numel()) and float(earlier.max()) > NOISE * float(change.max())
