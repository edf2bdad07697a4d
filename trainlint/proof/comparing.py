"""The user's configuration as it is, with the fixes that helped, and under a reference recipe: same steps, seeds and batches."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import torch
from torch.optim import Optimizer

from trainlint.measurements import Comparison, Course, LearningRate
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.accuracy import accuracy
from trainlint.probes.step.replay import Rehearsal, rehearsal, usable
from trainlint.probes.training.regularisers import unregularised
from trainlint.proof.changes import evaluated
from trainlint.proof.runs import Condition, Fill, affordable, checks, judged_loss, run, then
from trainlint.record.recording import Recording

__all__ = ["compare_configurations", "merged", "recipe"]

#: Runs of each configuration, with other orders and draws.
_SEEDS = 3
#: Adam's own learning rate (Kingma and Ba, 2015), where no better one was measured.
_USUAL_RATE = 1e-3
#: AdamW's decay and clipping in common recipes (Liu et al., ConvNeXt: 0.05; Vaswani et al. and GPT: a norm of 1).
_DECAY, _NORM = 0.05, 1.0
#: Share of the steps over which the rate rises, and what it falls to.
_WARM_UP, _END = 0.1, 0.01


def compare_configurations(recording: Recording, fixes: Sequence[Condition], rate: LearningRate | None, deadline: float) -> Comparison:
    """Train as it is, with the fixes (where there are any), and by the recipe on top of these; judged on validation batches.

    Where none of the recorded validation batches fits the recorded step, training batches judge.
    """
    fixed = merged(fixes)
    adaptive = rate is not None and "adam" in rate.optimizer.lower()
    reference = recipe(fixed, rate.suggestion if adaptive and rate is not None and rate.suggestion else _USUAL_RATE)
    plans = {"as it is": Condition(judged=fixed.judged), **({"with the fixes": fixed} if fixes else {}), "reference recipe": reference}
    change = next((f.change for f in fixes if f.change is not None), None)
    with rehearsal(recording, batches=True, change=change) as trial:
        held = usable(trial.tape, [b.leaves for b in recording.batches if b.iteration is not None and b.iteration.phase == "val"])
        judged_on: list[Fill] = list(held or trial.fills)
        steps = affordable(deadline, trial, fixed, len(plans) * _SEEDS)
        courses = []
        for name, condition in plans.items():
            scores, right = [], []
            for seed in range(_SEEDS):
                if time.monotonic() > deadline:
                    msg = "the time left was too short to compare configurations"
                    raise CannotMeasureError(msg)
                scores.append(run(trial, condition, partial(judged_loss, trial, condition, judged_on, evaluated), steps, seed))
                right.append(_accuracy(trial, condition, judged_on))
            known = [a for a in right if a is not None]
            courses.append(
                Course(
                    name=name,
                    losses=tuple(_mean(values) for values in zip(*scores, strict=True)),
                    finals=tuple(s[-1] for s in scores),
                    accuracies=tuple(known) if len(known) == len(right) else (),
                )
            )
        return Comparison(steps=steps, checks=tuple(checks(steps)), validation=bool(held), courses=tuple(courses))


def _accuracy(trial: Rehearsal, condition: Condition, fills: Sequence[Fill]) -> float | None:
    change = then(then(condition.judged, unregularised), evaluated)
    assert change is not None
    found = [accuracy(trial, dict(condition.feed(fill)), change) for fill in fills]
    known = [a for a in found if a is not None]
    return statistics.fmean(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if all(math.isfinite(v) for v in values) else math.nan


def recipe(fixed: Condition, rate: float) -> Condition:
    """AdamW without decay on norms and biases, a linear warm-up, then a cosine, and clipped gradients, on top of the fixes."""

    def optimizer(trial: Rehearsal, _: float) -> Optimizer:
        matrices = [t for t in trial.leaves if t.dim() > 1]
        vectors = [t for t in trial.leaves if t.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": _DECAY}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate)

    def course(progress: float) -> float:
        if progress < _WARM_UP:
            return max(progress / _WARM_UP, _END)
        return _END + (1 - _END) * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))

    return Condition(
        change=fixed.change, judged=fixed.judged, feed=fixed.feed, prepare=fixed.prepare, mode=fixed.mode, order=fixed.order,
        optimizer=optimizer, rate=course, max_norm=_NORM,
    )  # fmt: skip


def merged(fixes: Sequence[Condition]) -> Condition:
    """All fixes at once; where two set the same thing, such as the optimizer, the first one's stands."""
    plain = Condition()
    change = judged = None
    for fix in fixes:
        change, judged = then(change, fix.change), then(judged, fix.judged)

    def first(name: str) -> object:
        usual = getattr(plain, name)
        return next((v for fix in fixes if (v := getattr(fix, name)) is not usual and v != usual), usual)

    def feed(fill: Fill) -> Fill:
        for fix in fixes:
            fill = fix.feed(fill)
        return fill

    def prepare(trial: Rehearsal) -> None:
        for fix in fixes:
            fix.prepare(trial)

    def mode(trial: Rehearsal) -> AbstractContextManager[object]:
        stack = ExitStack()
        for fix in fixes:
            stack.enter_context(fix.mode(trial))
        return stack

    def rate(progress: float) -> float:
        return math.prod(fix.rate(progress) for fix in fixes)

    optimizer: Callable[[Rehearsal, float], Optimizer] = first("optimizer")  # type: ignore[assignment]
    settings = {name: first(name) for name in ("gathered", "used", "gradient_scale", "loss_scale", "max_norm", "order")}
    return Condition(change=change, judged=judged, feed=feed, prepare=prepare, mode=mode, rate=rate, optimizer=optimizer, **settings)  # type: ignore[arg-type]
