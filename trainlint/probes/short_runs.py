"""Short replayed runs from the script's first weights: at its own settings, gently, warmed up, and without regularisation.

All runs see the same batches in the same order and draw the same random numbers; what they have learned is compared on the recorded
batches with regularisation off, so that a loss that is merely less noisy does not count as learning.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.measurements import Regulariser, ShortRun, ShortRuns
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.pretrained import pretrained_parameters
from trainlint.probes.regularisers import Change, has_attention, is_post_norm, regularisers, unregularised, without
from trainlint.probes.replay import Rehearsal, configured_lr, rehearsal
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_short_runs"]

#: Steps of a run, and the least that says anything.
_STEPS, _LEAST_STEPS = 32, 16
#: Batches whose clean loss is measured at each check.
_CHECKED = 3
#: A learning rate that is gentle to learned weights, as a share of the configured one: the middle of the 10 to 30 times that
#: lie between usual rates for training from scratch and for fine-tuning.
_GENTLE = 1 / 20
#: A run is given up when its loss is above its first by this factor.
_EXPLODED = 20.0
#: The configured rate counts as warmed up to when the first step's is below this share of it.
_WARMING_UP = 0.5
#: Rise of the clean loss, and growth of the gradient norm, from which a run with a warm-up is made.
_ROSE, _GREW = 1.1, 8.0
#: Without regularisation this much more must be learned before single regularisers, or more steps, are tried.
_WORTH_ASKING = 1.5
#: Steps of the longer runs, made when so small a share of the loss is learned that the difference says little yet.
_LONGER, _LITTLE = 80, 0.25


@dataclass
class _Bench:
    """What the runs have in common."""

    trial: Rehearsal
    lr: float
    steps: int
    checks: tuple[int, ...]
    deadline: float
    learned: dict[int, Tensor]
    """id of a pretrained weight matrix -> its first value."""

    def clean(self) -> float:
        """Mean loss over some recorded batches with regularisation off."""
        fills = self.trial.fills[:_CHECKED]
        try:
            return statistics.fmean(float(self.trial.loss(f, change=unregularised, grad=False)) for f in fills)
        except (RuntimeError, ValueError, ArithmeticError, IndexError):  # weights gone astray: a loss that checks its input's range
            return math.nan

    def run(
        self, purpose: str, *, lr: float | None = None, warm_up: int = 0, change: Change | None = None, decay: bool = True, steps: int = 0
    ) -> ShortRun:
        """One run from the first weights."""
        trial, rate = self.trial, self.lr if lr is None else lr
        trial.rewind()
        torch.manual_seed(0)
        optimizer = trial.own_optimizer(rate)
        full = [g["lr"] for g in optimizer.param_groups]
        if not decay:
            for group in optimizer.param_groups:
                group["weight_decay"] = 0.0
        losses: list[float] = []
        clean: list[float] = []
        norms: list[float] = []
        for step in range(steps or self.steps):
            for group, own in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = own * min(1.0, (step + 1) / (warm_up + 1))
            losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], change, trial.max_norm))
            norms.append(_norm(optimizer))
            if step + 1 in self.checks or step + 1 == steps:
                clean.append(self.clean())
            if not math.isfinite(losses[-1]) or losses[-1] > _EXPLODED * max(abs(losses[0]), 1e-6) or time.monotonic() > self.deadline:
                break
        diverged = not math.isfinite(losses[-1]) or (len(losses) < (steps or self.steps) and time.monotonic() <= self.deadline)
        return ShortRun(
            purpose=purpose, lr=rate, warm_up=warm_up, losses=tuple(losses), clean=tuple(clean), gradient_norms=tuple(norms),
            moved=self._moved(), diverged=diverged,
        )  # fmt: skip

    def _moved(self) -> float | None:
        if not self.learned:
            return None
        leaves = [t for t in self.trial.leaves if id(t) in self.learned]
        with torch.no_grad():
            apart = sum(float((t - self.learned[id(t)]).double().square().sum()) for t in leaves)
            length = sum(float(self.learned[id(t)].double().square().sum()) for t in leaves)
        return math.sqrt(apart / length) if length else None


def measure_short_runs(recording: Recording, deadline: float, settings: Settings) -> ShortRuns:
    """Make the runs that this pipeline has a use for."""
    configured = max(configured_lr(recording))
    seen = recording.main
    with rehearsal(recording, batches=True) as trial:
        if seen is None or type(seen.optimizer).__name__ == "LBFGS":
            msg = "LBFGS chooses its own step length"
            raise CannotMeasureError(msg)
        if configured <= 0:
            msg = "the configured learning rate is 0"
            raise CannotMeasureError(msg)
        bench = _Bench(trial, configured, 0, (), deadline, {})
        initial = bench.clean()
        if not math.isfinite(initial):
            msg = "the first loss is not finite"
            raise CannotMeasureError(msg)
        sources = pretrained_parameters(recording)
        held = sum(t.numel() for t in trial.leaves)
        known = [t for t in trial.leaves if id(t) in sources]
        bench.learned = {id(t): recording.initial[id(t)] for t in known if t.dim() > 1 and id(t) in recording.initial}
        share = sum(t.numel() for t in known) / held if held else 0.0
        found = regularisers(recording, trial.tape)
        first = float(seen.settings[0].get("lr", configured)) if seen.settings else configured
        warmed = max((float(s.get("lr", configured)) for s in seen.settings), default=configured) < _WARMING_UP * configured
        attention = has_attention(trial.tape)
        _plan(bench, 1 + (share > 0) + 2 * (not warmed) + bool(found))
        return ShortRuns(
            optimizer=type(seen.optimizer).__name__,
            where=recording.frames.location(seen.place),
            configured=configured,
            first=first,
            initial=initial,
            steps=bench.steps,
            checks=bench.checks,
            runs=tuple(_runs(bench, initial, share, found, warmed=warmed)),
            pretrained=share,
            pretrained_how=next((sources[id(t)] for t in known), ""),
            resumed=seen.resumed,
            attention=attention,
            post_norm=attention and is_post_norm(trial.tape),
            regularisers=tuple(found),
        )


def _plan(bench: _Bench, runs: int) -> None:
    """Steps and checks that the budget allows, judged by one step that is taken back."""
    trial = bench.trial
    began = time.monotonic()
    trial.step(trial.own_optimizer(bench.lr), trial.fills[0])
    one = max(time.monotonic() - began, 1e-4)
    trial.rewind()
    steps = min(int((bench.deadline - time.monotonic()) / (1.5 * runs * one)), _STEPS)
    if steps < _LEAST_STEPS:
        msg = f"the budget allows only {max(steps, 0)} steps a run; {_LEAST_STEPS} are needed"
        raise CannotMeasureError(msg)
    bench.steps = steps
    bench.checks = tuple(sorted({1, 2, 4, steps, *range(8, _LONGER + 1, 4)}))


def _runs(bench: _Bench, initial: float, pretrained: float, found: list[Regulariser], *, warmed: bool) -> list[ShortRun]:
    ramp = bench.steps // 2
    runs = [bench.run("configured", warm_up=ramp if warmed else 0)]
    own = runs[0]
    if pretrained > 0:
        runs.append(bench.run("gentle", lr=bench.lr * _GENTLE, warm_up=own.warm_up))
    if not warmed and _rough(own, initial):
        runs.append(bench.run("warm-up", warm_up=ramp, steps=2 * bench.steps))
    if found and not own.diverged:
        free = bench.run("free", warm_up=own.warm_up, change=unregularised, decay=False)
        runs.append(free)
        if _worth_asking(own, free, initial):
            runs += _asked(bench, own, free, found, initial)
    return runs


def _asked(bench: _Bench, own: ShortRun, free: ShortRun, found: list[Regulariser], initial: float) -> list[ShortRun]:
    """Which regulariser it is, and whether the difference lasts."""
    kinds = list(dict.fromkeys(r.kind for r in found))
    runs = [_lacking(bench, kind, own.warm_up) for kind in kinds] if len(kinds) > 1 else []
    if initial - free.clean[-1] < _LITTLE * abs(initial):
        runs.append(bench.run("configured, longer", warm_up=own.warm_up, steps=_LONGER))
        runs.append(bench.run("free, longer", warm_up=own.warm_up, change=unregularised, decay=False, steps=_LONGER))
    return runs


def _lacking(bench: _Bench, kind: str, warm_up: int) -> ShortRun:
    change = None if kind == "weight decay" else without(kind)
    return bench.run(f"without {kind}", warm_up=warm_up, change=change, decay=kind != "weight decay")


def _worth_asking(own: ShortRun, free: ShortRun, initial: float) -> bool:
    if not own.clean or not free.clean:
        return False
    return initial - free.clean[-1] > _WORTH_ASKING * max(initial - own.clean[-1], 0.0)


def _rough(run: ShortRun, initial: float) -> bool:
    """Whether the first steps did harm that a warm-up might have prevented."""
    exploded = bool(run.gradient_norms) and max(run.gradient_norms) > _GREW * run.gradient_norms[0]
    return run.diverged or exploded or max(run.clean, default=0.0) > _ROSE * initial


def _norm(optimizer: Optimizer) -> float:
    gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    return math.sqrt(sum(float(g.detach().double().square().sum()) for g in gradients))
