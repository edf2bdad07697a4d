"""Short trainings by replay from the script's first weights, and the one at its own settings that several probes share.

All see the same batches in the same order and draw the same random numbers; what they have learned is also compared on the recorded
batches with regularisation off, so that a loss that is merely less noisy does not count as learning.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.measurements import ShortRun
from trainlint.probes.run.pretrained import pretrained_parameters
from trainlint.probes.step.optimizer_copies import configured_lr
from trainlint.probes.step.parts import alike, divided
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.training.regularisers import Change, unregularised
from trainlint.record.random_state import seed_torch
from trainlint.record.recording import Recording

__all__ = ["CHECKS", "FIRST_STEPS", "PARTS", "WARM_UP", "Bench", "first_run", "is_warmed", "part_of"]

#: Parts of a batch, of which the first is fed where that will do.
PARTS = 4
#: Steps after which the clean loss is measured, and the batches it is measured on.
CHECKS = (1, 2, 4, 8, 16, 20, *range(24, 81, 8))
_CHECKED = 2
#: Steps over which the rate rises in trials of a rate that the script warms up to.
WARM_UP = 4
#: Steps of the run that is shared.
FIRST_STEPS = 20
#: The first loss of half a batch is within this factor of the whole one's; otherwise it is no mean over samples.
_ALIKE = 2.0
#: A run is given up when its loss is above its first by this factor.
_EXPLODED = 20.0
#: The configured rate counts as warmed up to when the first step's is below this share of it.
_WARMING_UP = 0.5


@dataclass
class Bench:
    """What the runs on one recording have in common."""

    trial: Rehearsal
    deadline: float
    held_out: Sequence[dict[int, Tensor]] = ()
    """Batches for the clean loss; the recorded ones when empty."""

    def clean(self) -> float:
        """Mean loss over some batches with regularisation off."""
        fills = self.held_out or self.trial.fills[:_CHECKED]
        try:
            return statistics.fmean(float(self.trial.loss(f, change=unregularised, grad=False)) for f in fills)
        except (RuntimeError, ValueError, ArithmeticError, IndexError):  # weights gone astray: a loss that checks its input's range
            return math.nan

    def run(self, purpose: str, *, lr: float, steps: int, warm_up: int = 0, change: Change | None = None, decay: bool = True) -> ShortRun:
        """One run from the first weights."""
        trial = self.trial
        trial.rewind()
        seed_torch(0)
        optimizer = trial.own_optimizer(lr)
        full = [g["lr"] for g in optimizer.param_groups]
        if not decay:
            for group in optimizer.param_groups:
                group["weight_decay"] = 0.0
        losses: list[float] = []
        clean: list[float] = []
        norms: list[float] = []
        for step in range(steps):
            for group, own in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = own * min(1.0, (step + 1) / (warm_up + 1))
            losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], change, trial.max_norm))
            norms.append(_norm(optimizer))
            if step + 1 in CHECKS:
                clean.append(self.clean())
            if not math.isfinite(losses[-1]) or losses[-1] > _EXPLODED * max(abs(losses[0]), 1e-6) or time.monotonic() > self.deadline:
                break
        diverged = not math.isfinite(losses[-1]) or (len(losses) < steps and time.monotonic() <= self.deadline)
        return ShortRun(
            purpose=purpose, lr=lr, warm_up=warm_up, losses=tuple(losses), clean=tuple(clean), gradient_norms=tuple(norms),
            moved=self._moved(), diverged=diverged,
        )  # fmt: skip

    def learned(self) -> list[Tensor]:
        """Pretrained weight matrices whose first values are known."""
        sources, initial = pretrained_parameters(self.trial.recording), self.trial.recording.initial
        return [t for t in self.trial.leaves if id(t) in sources and t.dim() > 1 and id(t) in initial]

    def _moved(self) -> float | None:
        leaves, initial = self.learned(), self.trial.recording.initial
        with torch.no_grad():
            apart = sum(float((t - initial[id(t)]).double().square().sum()) for t in leaves)
            length = sum(float(initial[id(t)].double().square().sum()) for t in leaves)
        return math.sqrt(apart / length) if length else None


_FIRST: WeakKeyDictionary[Recording, ShortRun] = WeakKeyDictionary()
#: Whether batches can be divided into so many parts.
_FITTING: WeakKeyDictionary[Recording, dict[int, bool]] = WeakKeyDictionary()


def first_run(bench: Bench) -> ShortRun:
    """The configured rate from the first step, or after the first few where the script warms up to it; made once, by whoever asks first.

    It is made on quarters of the batches where they can be divided; what it shows amiss is to be looked at again on the whole ones.
    """
    recording = bench.trial.recording
    run = _FIRST.get(recording)
    if run is None:
        warm_up = WARM_UP - 1 if is_warmed(recording) else 0
        run = _FIRST[recording] = bench.run("configured", lr=max(configured_lr(recording)), steps=FIRST_STEPS, warm_up=warm_up)
    return run


def part_of(trial: Rehearsal, parts: int = PARTS) -> list[dict[int, Tensor]] | None:
    """The first of so many parts of each batch; None when batches are small, the step is fixed to their size, or the loss is no mean over samples."""
    fills = divided(trial.tape, trial.fills, parts)
    if fills is None:
        return None
    fitting = _FITTING.setdefault(trial.recording, {})
    if parts not in fitting:
        fitting[parts] = _fits(trial, fills[0])
    return fills if fitting[parts] else None


def _fits(trial: Rehearsal, part: dict[int, Tensor]) -> bool:
    fill = trial.fills[0]
    try:
        own = all(torch.equal(t, trial.tape.outside[s]) for s, t in fill.items())
        whole = trial.first if trial.first is not None and own else float(trial.loss(fill, grad=False))
        return alike(float(trial.loss(part, grad=False)), whole, _ALIKE)
    except (RuntimeError, IndexError, ValueError, TypeError, ArithmeticError):
        return False
    finally:
        trial.rewind()


def is_warmed(recording: Recording) -> bool:
    """Whether the script's first step is taken at a small share of the rate that it goes on to."""
    seen, configured = recording.main, max(configured_lr(recording))
    return seen is not None and max((float(s.get("lr", configured)) for s in seen.settings), default=configured) < _WARMING_UP * configured


def _norm(optimizer: Optimizer) -> float:
    gradients = [p.grad.detach() for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    return math.sqrt(sum(float(n) ** 2 for n in torch._foreach_norm(gradients))) if gradients else 0.0
