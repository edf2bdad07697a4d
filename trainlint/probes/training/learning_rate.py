"""The configured learning rate against others, by short replayed runs from the same weights on the same batches.

A single range test is noise: its suggestion moves by one to two orders of magnitude between seeds and lengths. What is stable is
which learning rates, held for a dozen steps after a short warm-up, bring the loss down about as far as the best one does. Progress is
counted batch by batch, against the loss of the same batch at the first weights, which takes the batches' own differences out, and over
whole turns of the batches. A rate that gets down by way of leaps far above the first loss, which a lower rate does without, does not train well.
An end of the band lies between two rates that were tried, or it is open.
"""

from __future__ import annotations

import math
import time

import torch

from trainlint.measurements import LearningRate
from trainlint.probes.data.value_source import rate_written
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.optimizer_copies import built_lr, configured_lr
from trainlint.probes.step.replay import rehearsal
from trainlint.probes.step.schedule_factors import begins_anew, highest_from, ruling_schedule
from trainlint.probes.training.rate_search import BATCHES, EXPLODED, SCORED, SWEEP, RateSearch, searched
from trainlint.probes.training.short_training import part_of
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_learning_rate"]

#: How far below the rate that the optimizer was built with a restored one lies that was decayed.
_LOWERED = 10.0


def measure_learning_rate(recording: Recording, deadline: float, settings: Settings) -> LearningRate:
    """Try the configured learning rate, then its neighbours upwards and downwards until they stop being useful."""
    if (restored := _restored(recording)) is not None:
        return restored
    configured = max(configured_lr(recording))
    with rehearsal(recording, batches=True) as trial:
        began = time.monotonic()
        seen = recording.main
        if seen is None or (any(s.closure for s in seen.steps) and type(seen.optimizer).__name__ == "LBFGS"):
            msg = "LBFGS chooses its own step length"
            raise CannotMeasureError(msg)
        whole = trial.fills = trial.fills[:BATCHES]
        # Few batches are learned by heart at nearly any rate: all of their samples are needed.
        if many := len(whole) >= SCORED:
            trial.fills = part_of(trial) or whole
        search = searched(trial, configured, deadline, shared=many)
        momentum = _momentum(seen.optimizer)
        grown = configured / (1 - min(momentum, 0.9999) ** search.steps)  # what momentum has not added up within a trial
        if trial.fills is not whole and (search.is_outside(configured) or search.is_outside(grown)) and time.monotonic() < deadline:
            trial.fills = whole  # what parts of batches show amiss is looked at again on the whole ones
            search = searched(trial, configured, deadline, shared=False)
        low, high, best = search.band()
        open_low, open_high = search.open_ends()
        outside = search.is_outside(configured)
        affordable = time.monotonic() < deadline - 0.1 * (deadline - began)
        rates, losses = _sweep(search, deadline) if outside and affordable else ((), ())
        spent = time.monotonic() - began
        built, ruling = built_lr(recording), ruling_schedule(recording, seen)
        ruled = ruling is not None and not math.isclose(built, configured, rel_tol=1e-6)
        first = seen.settings[0].get("lr", configured) if seen.settings else configured
        return LearningRate(
            optimizer=type(seen.optimizer).__name__,
            configured=configured,
            built=built if ruled else 0.0,
            schedule_where=recording.frames.location(ruling.place) if ruling is not None and ruled else None,
            first=float(first),
            where=recording.frames.location(seen.place),
            momentum=momentum,
            initial=search.initial,
            trials=tuple(search.trials[lr] for lr in sorted(search.trials)),
            low=low,
            high=high,
            limit=search.limit if best is not None else None,
            has_loader=bool(recording.loaders_of("train")),
            open_low=open_low,
            open_high=open_high,
            suggestion=best,
            progress=best is not None,
            curve_lr=rates,
            curve_loss=losses,
            steps=search.steps,
            batches=len(whole),
            step_equivalents=spent / recording.step_time if recording.step_time else 0.0,
        )


def _restored(recording: Recording) -> LearningRate | None:
    """The rate of an earlier run that came with its optimizer's state and stays, far below the one that this run asks for."""
    seen = recording.main
    if seen is None or seen.loaded_at is None or not seen.steps:
        return None
    built = max((float(g.get("lr", math.nan)) for g in seen.base), default=math.nan)
    loaded, used = max(seen.loaded_lr, default=math.nan), [max(step.lr, default=math.nan) for step in seen.steps]
    files = {place[0] for place in (seen.place, seen.loaded_at, seen.steps[0].place) if place is not None}
    schedules = [s for s in recording.schedulers if getattr(s.scheduler, "optimizer", None) is seen.optimizer]
    # A schedule may lower what was loaded from step to step; one that raises it again, or goes on where it was saved, is as it is meant to be.
    stays = used[0] == loaded and (set(used) == {loaded} or (bool(schedules) and max(used) == loaded))
    if not stays or not 0 < loaded <= built / _LOWERED or any(map(rate_written, files)):
        return None
    if any(not begins_anew(s) or (highest_from(s.scheduler, loaded) or math.inf) > built / _LOWERED for s in schedules):
        return None
    return LearningRate(
        optimizer=type(seen.optimizer).__name__,
        configured=built,
        first=loaded,
        where=recording.frames.location(seen.place),
        restored_where=recording.frames.location(seen.loaded_at),
        progress=False,
    )


def _momentum(optimizer: torch.optim.Optimizer) -> float:
    """By how much each step adds the one before: only of optimizers that do not divide by the gradient's size."""
    if not isinstance(optimizer, torch.optim.SGD):
        return 0.0
    return max((float(g["momentum"]) for g in optimizer.param_groups if not g["dampening"]), default=0.0)


def _sweep(search: RateSearch, deadline: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The classic range test (Smith 2015): one run whose learning rate grows from step to step, for the eye only."""
    trial = search.trial
    trial.rewind()
    optimizer = trial.own_optimizer(1.0)
    own = [g["lr"] for g in optimizer.param_groups]
    rates: list[float] = []
    losses: list[float] = []
    for step in range(SWEEP):
        lr = 1e-6 * (10.0 / 1e-6) ** (step / (SWEEP - 1))
        for group, factor in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = lr * factor
        losses.append(trial.step(optimizer, trial.fills[step % len(trial.fills)], max_norm=trial.max_norm))
        rates.append(lr)
        if not math.isfinite(losses[-1]) or losses[-1] > EXPLODED * max(abs(search.initial), 1e-12) or time.monotonic() > deadline:
            break
    return tuple(rates), tuple(losses)
