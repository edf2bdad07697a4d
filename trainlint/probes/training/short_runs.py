"""Short replayed runs from the script's first weights: at its own settings, gently, warmed up, and without regularisation."""

from __future__ import annotations

import math
import time
from typing import Any

from trainlint.measurements import Regulariser, ShortRun, ShortRuns
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.run.pretrained import pretrained_parameters
from trainlint.probes.step.optimizer_copies import configured_lr
from trainlint.probes.step.replay import rehearsal
from trainlint.probes.training.augmentation import measure_augmentation
from trainlint.probes.training.regularisers import has_attention, is_post_norm, regularisers, unregularised, without
from trainlint.probes.training.short_training import CHECKS, Bench, first_run, is_warmed, part_of
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_short_runs"]

#: Steps of a run, and the least that says anything.
_STEPS, _LEAST_STEPS = 32, 16
#: A learning rate that is gentle to learned weights, as a share of the configured one: the middle of the 10 to 30 times that
#: lie between usual rates for training from scratch and for fine-tuning.
_GENTLE = 1 / 20
#: Rise of the clean loss, and growth of the gradient norm, from which a run with a warm-up is made.
_ROSE, _GREW = 1.1, 8.0
#: Steps that bring the clean loss below this share of its first did no harm.
_MADE_GOOD = 0.85
#: Where a share of the loss larger than the inverse was learned, no run learns this many times as much: losses end at 0.
_FURTHER = 4.0
#: Without regularisation this much more must be learned before single regularisers, or more steps, are tried.
_WORTH_ASKING = 1.5
#: Steps of the longer runs, made when so small a share of the loss is learned that the difference says little yet.
_LONGER, _LITTLE = 80, 0.25


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
        bench = Bench(trial, deadline)
        whole = trial.fills
        sources = pretrained_parameters(recording)
        held = sum(t.numel() for t in trial.leaves)
        known = [t for t in trial.leaves if id(t) in sources]
        share = sum(t.numel() for t in known) / held if held else 0.0
        found = regularisers(recording, trial.tape)
        first = float(seen.settings[0].get("lr", configured)) if seen.settings else configured
        attention = has_attention(trial.tape)
        trial.fills = part_of(trial) or whole
        initial = _first_loss(bench)
        runs = _conclusive(bench, initial, share, found)
        if not runs:
            trial.fills = whole
            initial = _first_loss(bench)
            runs = _Runs(bench, configured, initial, share, found).made()
        trial.fills = part_of(trial) or whole
        augmentation = measure_augmentation(bench, configured, runs[0].warm_up) if not runs[0].diverged else None
        return ShortRuns(
            optimizer=type(seen.optimizer).__name__,
            where=recording.frames.location(seen.place),
            configured=configured,
            first=first,
            initial=initial,
            steps=len(runs[0].losses),
            checks=CHECKS,
            runs=tuple(runs),
            pretrained=share,
            pretrained_how=next((sources[id(t)] for t in known), ""),
            resumed=seen.resumed,
            attention=attention,
            post_norm=attention and is_post_norm(trial.tape),
            regularisers=tuple(found),
            augmentation=augmentation,
        )


def _first_loss(bench: Bench) -> float:
    bench.trial.rewind()
    initial = bench.clean()
    if not math.isfinite(initial):
        msg = "the first loss is not finite"
        raise CannotMeasureError(msg)
    return initial


def _conclusive(bench: Bench, initial: float, pretrained: float, found: list[Regulariser]) -> list[ShortRun]:
    """The run that is shared with the search for learning rates, when little more needs to be asked; empty otherwise.

    More is asked from pretrained weights, after rough first steps, and where regularisation may hide several times what was learned: a
    quarter of the steps without it gets as far.
    """
    if pretrained > 0:
        return []
    run = first_run(bench)
    if run.diverged or len(run.losses) < _LEAST_STEPS or (_rough(run, initial) and not run.warm_up):
        return []
    if not found or (min(run.losses) >= 0 and (initial - run.clean[-1]) * _FURTHER > initial):
        return [run]
    quarter = bench.run("free", lr=run.lr, steps=_LEAST_STEPS // 4, warm_up=run.warm_up, change=unregularised, decay=False)
    return [run, quarter] if quarter.clean and min(quarter.clean) > run.clean[-1] else []


class _Runs:
    """The runs that this pipeline has a use for."""

    def __init__(self, bench: Bench, lr: float, initial: float, pretrained: float, found: list[Regulariser]) -> None:
        self.bench, self.lr, self.initial, self.pretrained, self.found = bench, lr, initial, pretrained, found
        self.warmed = is_warmed(bench.trial.recording)
        self.steps = self._affordable(1 + (pretrained > 0) + 2 * (not self.warmed) + bool(found))

    def _affordable(self, runs: int) -> int:
        """Steps of a run that the budget allows, judged by one step that is taken back."""
        trial = self.bench.trial
        began = time.monotonic()
        trial.step(trial.own_optimizer(self.lr), trial.fills[0])
        one = max(time.monotonic() - began, 1e-4)
        trial.rewind()
        steps = min(int((self.bench.deadline - time.monotonic()) / (1.5 * runs * one)), _STEPS)
        if steps < _LEAST_STEPS:
            msg = f"the budget allows only {max(steps, 0)} steps a run; {_LEAST_STEPS} are needed"
            raise CannotMeasureError(msg)
        return steps - steps % 8  # ends on a check

    def made(self) -> list[ShortRun]:
        """Make them."""
        ramp = self.steps // 2
        own = self._run("configured", warm_up=ramp if self.warmed else 0)
        runs = [own]
        if self.pretrained > 0:
            runs.append(self._run("gentle", lr=self.lr * _GENTLE, warm_up=own.warm_up))
        if not self.warmed and _rough(own, self.initial):
            runs.append(self._run("warm-up", warm_up=ramp, steps=2 * self.steps))
        if self.found and not own.diverged:
            free = self._free(own, "free")
            runs.append(free)
            if _worth_asking(own, free, self.initial):
                runs += self._asked(own, free)
        return runs

    def _run(self, purpose: str, *, lr: float = 0.0, steps: int = 0, **options: Any) -> ShortRun:
        return self.bench.run(purpose, lr=lr or self.lr, steps=steps or self.steps, **options)

    def _free(self, own: ShortRun, purpose: str, steps: int = 0) -> ShortRun:
        return self._run(purpose, steps=steps, warm_up=own.warm_up, change=unregularised, decay=False)

    def _asked(self, own: ShortRun, free: ShortRun) -> list[ShortRun]:
        """Which regulariser it is, and whether the difference lasts."""
        kinds = list(dict.fromkeys(r.kind for r in self.found))
        runs = [self._lacking(kind, own.warm_up) for kind in kinds] if len(kinds) > 1 else []
        if self.initial - free.clean[-1] < _LITTLE * abs(self.initial):
            runs.append(self._run("configured, longer", warm_up=own.warm_up, steps=_LONGER))
            runs.append(self._free(own, "free, longer", _LONGER))
        return runs

    def _lacking(self, kind: str, warm_up: int) -> ShortRun:
        change = None if kind == "weight decay" else without(kind)
        return self._run(f"without {kind}", warm_up=warm_up, change=change, decay=kind != "weight decay")


def _worth_asking(own: ShortRun, free: ShortRun, initial: float) -> bool:
    if not own.clean or not free.clean:
        return False
    return initial - free.clean[-1] > _WORTH_ASKING * max(initial - own.clean[-1], 0.0)


def _rough(run: ShortRun, initial: float) -> bool:
    """Whether the first steps did harm that a warm-up might have prevented, and that was not made good soon."""
    if not run.diverged and run.clean and run.clean[-1] < _MADE_GOOD * initial:
        return False
    exploded = bool(run.gradient_norms) and max(run.gradient_norms) > _GREW * run.gradient_norms[0]
    return run.diverged or exploded or max(run.clean, default=0.0) > _ROSE * initial
