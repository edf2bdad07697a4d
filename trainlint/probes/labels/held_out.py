"""What the model itself learns of labels in a short training: whether it fits some samples, and then knows others better than chance.

Made only where a cheap probe finds nothing. Targets are exchanged between the samples of a batch: a loss that does not rise then knows
nothing of them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainlint.measurements import Lesson
from trainlint.probes.data.split_samples import Split
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.replay import Rehearsal, rehearsal, usable
from trainlint.probes.training.short_training import part_of
from trainlint.record.operation import without_regularisation
from trainlint.record.recording import Recording
from trainlint.record.structure import tensor_leaves

__all__ = ["train_a_while"]

#: Samples that are kept back, as a share, and the fewest that tell anything; samples that are trained on at most.
_KEPT_BACK, _FEWEST, _MOST = 0.4, 120, 512
#: Passes over the samples, those after which it is judged, the rate of Adam, and the seconds that all may take.
_PASSES, _JUDGED, _RATE, _SECONDS = 48, (2, *range(4, 49, 4)), 2e-3, 8.0
#: Parts that a batch is trained on in.
_PARTS = 4
#: Exchanges of targets that a loss is held against.
_EXCHANGES = 19
#: Share of the loss with exchanged targets at which samples are known by heart.
_BY_HEART = 0.5


def train_a_while(recording: Recording, split: Split, deadline: float) -> Lesson | None:
    """Train on some of the samples that were read, judge on the others; None where the step cannot be replayed with them."""
    try:
        with rehearsal(recording, batches=True) as trial:
            return _lesson(trial, split, min(deadline, time.monotonic() + _SECONDS))
    except (CannotMeasureError, RuntimeError, ValueError, IndexError, TypeError, ArithmeticError):
        return None


def _lesson(trial: Rehearsal, split: Split, deadline: float) -> Lesson | None:
    slot = trial.tape.batch.get(split.target)
    if slot is None or trial.recording.trust != "next step" or not trial.tape.outside[slot].dim():
        return None
    size = trial.tape.outside[slot].shape[0]
    fills = _fills(trial, split, size, deadline)
    back = math.ceil(_KEPT_BACK * len(fills))
    held, learned = fills[:back], fills[back:][: max(1, _MOST // size)]
    if len(held) * size < _FEWEST or not learned or size < 4:
        return None
    optimizer = torch.optim.Adam(trial.leaves, lr=_RATE)
    best, share, steps = -math.inf, 1.0, 0
    parts = _in_parts(trial, learned, size)
    for number in range(1, _PASSES + 1):
        for fill in parts:
            if not math.isfinite(trial.step(optimizer, fill, without_regularisation)):
                return None
        steps += len(parts)
        late = time.monotonic() > deadline
        if number not in _JUDGED and not late:
            continue
        own, exchanged = _losses(trial, learned[:4], slot, 3)
        share = own / statistics.fmean(exchanged) if min(exchanged) > 0 else 1.0
        best = max(best, _z(*_losses(trial, held, slot, _EXCHANGES)))
        if share <= _BY_HEART or late:
            break
    return Lesson(
        steps=steps,
        learned=len(learned) * size,
        held_out=len(held) * size,
        left=share,
        by_heart=share <= _BY_HEART,
        z=best,
        relational=_is_relational(split),
    )


def _is_relational(split: Split) -> bool:
    """Ids are alike or not, without a measure in between, and pairs ask what one input has to do with the other: neither shows in neighbours."""
    kinds = list(split.kinds.values())
    return "tokens" in kinds or len(set(kinds)) < len(kinds)


def _in_parts(trial: Rehearsal, fills: Sequence[dict[int, Tensor]], size: int) -> Sequence[dict[int, Tensor]]:
    """The batches in quarters, which take a quarter of the memory; whole where the step does not allow it."""
    if part_of(trial) is None:
        return fills
    rows = size // _PARTS
    return [{s: t[first : first + rows] for s, t in fill.items()} for fill in fills for first in range(0, rows * _PARTS, rows)]


def _fills(trial: Rehearsal, split: Split, size: int, deadline: float) -> list[dict[int, Tensor]]:
    """Batches of the samples that were read, in random order."""
    order = np.random.default_rng(0).permutation(split.indices)
    loader, batches = split.samples.loader, []
    for first in range(0, len(order) - size + 1, size):
        if time.monotonic() > deadline:
            break
        rows = [split.samples.raw(int(i)) for i in order[first : first + size]]
        batches.append(dict(tensor_leaves(loader.collate_fn(rows))))
    return usable(trial.tape, batches)


def _losses(trial: Rehearsal, fills: Sequence[dict[int, Tensor]], slot: int, exchanges: int) -> tuple[float, list[float]]:
    """Mean loss with the samples' own targets, and with targets exchanged between the samples of a batch, several times."""
    generator = torch.Generator().manual_seed(0)

    def mean(exchange: bool) -> float:
        total = 0.0
        for fill in fills:
            order = torch.randperm(len(fill[slot]), generator=generator)
            given = {**fill, slot: fill[slot][order.to(fill[slot].device)]} if exchange else fill
            total += float(trial.loss(given, change=without_regularisation, grad=False))
        return total / len(fills)

    return mean(False), [mean(True) for _ in range(exchanges)]


def _z(own: float, exchanged: Sequence[float]) -> float:
    return (statistics.fmean(exchanged) - own) / max(statistics.stdev(exchanged), 1e-12)
