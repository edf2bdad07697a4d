"""Learning-rate schedulers as they stand: what they will do, how often they are stepped, and how often they are meant to be."""

from __future__ import annotations

import copy
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from trainlint.location import Location
from trainlint.measurements import SchedulerInfo
from trainlint.probes.data.value_source import argument_named
from trainlint.probes.run.counted_schedules import by_rounds, counted_cadence, counted_horizon, counted_rates, unit_of
from trainlint.record.recording import Recording
from trainlint.record.seen import SchedulerSeen

__all__ = ["scheduler_info", "steps_per_epoch"]

#: Calls that a schedule is drawn over where nothing tells its length, points of a drawing, and the most calls played one by one.
_FIRST_CALLS, _POINTS, _PLAYED = 100, 200, 2000
#: Schedulers whose rate follows from the number of the call alone, beside those with a closed form.
_BY_CALL = (lr_scheduler.LambdaLR, lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR, lr_scheduler.CosineAnnealingWarmRestarts)
#: Calls up to a million, ten in each decade.
_AHEAD = sorted({0, *(round(10 ** (exponent / 10)) for exponent in range(61))})
#: Share of the highest rate below which a change is none, and how much longer than the moving part a schedule is drawn.
_STAYS, _BEYOND = 1e-3, 1.05
#: Share of the highest rate below which a schedule has ended.
_SPENT = 0.01


def steps_per_epoch(recording: Recording) -> int | None:
    """Optimizer steps in a full, uncompressed training epoch."""
    ratios = [
        i.steps / i.batches
        for entry in recording.loaders_of("train")
        for i in entry.iterations
        if i.phase == "train" and i.steps and i.batches
    ]
    if not ratios:
        return None
    try:
        length = len(recording.loaders_of("train")[0].loader)
    except (TypeError, ValueError):
        return None
    accumulation = Counter(len(s.backwards) for s in recording.steps if s.backwards).most_common(1)
    return max(1, round(length / (accumulation[0][0] if accumulation and recording.turns == 1 else 1)))


def scheduler_info(recording: Recording, seen: SchedulerSeen, has_loader: bool, epochs: int | None) -> SchedulerInfo:
    """Settings of a scheduler, how often the loop steps it, and where its curve leads within ``epochs``, where that is known."""
    scheduler = seen.scheduler
    options = {k: v for k, v in seen.initial.items() if isinstance(v, bool | str | int | float) and not k.startswith("_")}
    optimizer = getattr(scheduler, "optimizer", None)
    owner = next((o for o in recording.optimizers if o.optimizer is optimizer), None)
    own_steps = len(owner.steps) if owner else 0
    metrics = tuple(m for _, _, _, m in seen.calls if m is not None)
    unit, horizon = unit_of(scheduler), _horizon(scheduler, seen)
    cadence = counted_cadence(seen) if unit else _cadence(recording, seen, own_steps, has_loader)
    each_epoch = {"epoch": 1, "step": steps_per_epoch(recording)}.get(cadence)
    run = epochs * each_epoch if epochs and each_epoch else None
    peak, reached = _peaks(scheduler, run)
    preview, spanned, cut = _preview(scheduler, horizon, run)
    rounds, calls_in_round = by_rounds(seen, horizon)
    return SchedulerInfo(
        kind=type(scheduler).__name__,
        where=recording.frames.location(seen.place),
        optimizer=owner.index if owner else None,
        horizon=horizon,
        stepped_where=recording.frames.location(seen.calls[0][2] if seen.calls else seen.stepper),
        calls=len(seen.calls) or _counted_on(scheduler, seen),
        calls_per_epoch=_calls_per_epoch(recording, seen),
        cadence=cadence,
        before_optimizer=not unit and bool(seen.calls) and seen.calls[0][0] == 0 and own_steps > 0,
        metric=metrics,
        metric_rises=_metric_rises(recording, seen),
        mode=str(getattr(scheduler, "mode", "")),
        options={k: v if isinstance(v, bool | str) else float(v) for k, v in options.items()},
        preview=preview,
        preview_calls=spanned,
        preview_cut=cut,
        peak=peak,
        reached=reached,
        warmup_where=_warmup_set(recording, seen) if peak and reached is not None and reached < 0.5 * peak else None,
        ignored_warmup=seen.warmup if _begins_high(scheduler, preview) else 0.0,
        told_where=recording.frames.location(seen.told_at),
        sometimes=seen.sometimes,
        swings=_swings(scheduler, horizon),
        unit=unit,
        idle_where=recording.frames.location(seen.idle[0]) if seen.idle else None,
        rounds=rounds,
        calls_in_round=calls_in_round,
        orphaned=owner is not None
        and not owner.steps
        and any(_takes_over(o.optimizer, owner.optimizer) for o in recording.optimizers if o.steps),
    )


def _begins_high(scheduler: Any, preview: tuple[float, ...]) -> bool:
    return preview[0] == max(preview) if preview else isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)


def _takes_over(active: Optimizer, idle: Optimizer) -> bool:
    """Whether an optimizer trains parameters of another without sharing its groups, as wrappers of an optimizer do."""
    mine, theirs = ({id(p) for group in o.param_groups for p in group["params"]} for o in (active, idle))
    shared = {id(group) for group in active.param_groups} & {id(group) for group in idle.param_groups}
    return bool(mine & theirs) and not shared and active.param_groups is not idle.param_groups


def _warmup_set(recording: Recording, seen: SchedulerSeen) -> Location | None:
    """The argument for the length of the warm-up, in the file that builds the schedule or has it built."""
    line = argument_named(seen.place[0], "warmup") if seen.place is not None else None
    return recording.frames.location((seen.place[0], line, "")) if seen.place is not None and line is not None else None


def _horizon(scheduler: Any, seen: SchedulerSeen) -> int | None:
    if unit_of(scheduler):
        return counted_horizon(scheduler)
    for name in ("total_steps", "T_max", "total_iters", "T_0"):
        if isinstance(value := getattr(scheduler, name, None), int):
            return value
    milestones = getattr(scheduler, "milestones", None) or getattr(scheduler, "_milestones", None)
    length = getattr(getattr(scheduler, "lr_lambdas", (None,))[0], "keywords", {}).get("num_training_steps")
    if type(length) is int and length > 0:  # the functions of transformers
        return length
    if not milestones and type(scheduler) is lr_scheduler.LambdaLR and (last := _settled(scheduler)):
        rates = _rates(scheduler, (*_AHEAD, math.ceil(_BEYOND * last)))  # an exponential decay goes on falling there
        return round(last / _BEYOND) if rates and rates[-1] == rates[-2] < _SPENT * max(rates) else None
    return int(max(milestones)) if milestones else None


def _counted_on(scheduler: Any, seen: SchedulerSeen) -> int:
    """Calls by which a schedule has moved although its step() was not called: a library counts on and asks for the rate itself."""
    now, then = getattr(scheduler, "last_epoch", None), seen.initial.get("last_epoch")
    return max(now - then, 0) if isinstance(now, int) and isinstance(then, int) else 0


def _swings(scheduler: Any, horizon: int | None) -> bool:
    if not horizon or type(scheduler) not in (lr_scheduler.LambdaLR, lr_scheduler.CosineAnnealingLR):
        return False
    rates = _rates(scheduler, (*range(0, horizon, max(1, horizon // _POINTS)), horizon, 2 * horizon))
    return bool(rates) and rates[-2] < 0.5 * max(rates) < rates[-1]


def _calls_per_epoch(recording: Recording, seen: SchedulerSeen) -> float | None:
    counts = Counter(epoch for _, epoch, _, _ in seen.calls)
    full = [i for entry in recording.loaders_of("train") for i in entry.iterations if i.phase == "train"]
    return statistics.fmean(counts.values()) if counts and full else None


def _cadence(recording: Recording, seen: SchedulerSeen, steps: int, has_loader: bool) -> str:
    """After every step, or once an epoch, told by the optimizer steps between two calls and the epochs that were completed."""
    epochs = [i for entry in recording.loaders_of("train") for i in entry.iterations if i.phase == "train" and i.steps]
    completed = max(len(epochs) - 1, 0) if recording.status == "recorded" else len(epochs)
    if not seen.calls:
        return "never" if completed >= 1 or (not has_loader and steps >= 8) else "unknown"
    if not has_loader:
        return "step" if steps and len(seen.calls) >= steps - 1 else "unknown"
    per_epoch = Counter(epoch for _, epoch, _, _ in seen.calls)
    steps_in = [i.steps for i in epochs]
    if steps_in and max(steps_in) < 3:  # recording may end between a step and the call that belongs to it
        return "unknown"
    if max(per_epoch.values()) >= max(2, max(steps_in, default=0) - 1):
        return "step"
    return "epoch" if max(per_epoch.values()) == 1 else "unknown"


def _metric_rises(recording: Recording, seen: SchedulerSeen) -> bool | None:
    """Whether a plateau scheduler was fed something that grows with success, by what its line calls it."""
    metrics = [m for _, _, _, m in seen.calls if m is not None and math.isfinite(m)]
    losses = [b.value for b in recording.backwards if math.isfinite(b.value)]
    if not metrics or not losses:
        return None
    place = recording.frames.location(seen.calls[0][2])
    words = place.text.lower() if place else ""
    if any(w in words for w in ("loss", "err", "rmse", "mse", "mae", "perplexity", "ppl", "wer", "nll")):
        return False
    if any(w in words for w in ("acc", "f1", "auc", "iou", "dice", "map", "recall", "precision", "score", "bleu", "psnr")):
        return all(m >= 0 for m in metrics) or None
    return None


def _preview(scheduler: Any, horizon: int | None, run: int | None) -> tuple[tuple[float, ...], int, bool]:
    """The first group's LR at 200 points or so, the calls that they span, and whether the schedule goes on beyond them."""
    if unit_of(scheduler):
        calls = horizon or run or _FIRST_CALLS
        return counted_rates(scheduler, calls), calls, not horizon
    ends = _settled(scheduler) if horizon and type(scheduler) is lr_scheduler.LambdaLR else None
    whole = ends or horizon or run or _settled(scheduler)
    calls = whole or _FIRST_CALLS
    if hasattr(scheduler, "_get_closed_form_lr") or isinstance(scheduler, _BY_CALL):
        rates = _rates(scheduler, range(0, calls, max(1, calls // _POINTS)))
    else:  # each rate is made of the one before
        calls = min(calls, _PLAYED)
        rates = _rates(scheduler, range(calls))[:: max(1, calls // _POINTS)]
    goes_on = (
        whole is None or calls < whole or (isinstance(scheduler, lr_scheduler.CosineAnnealingWarmRestarts) and calls < (run or math.inf))
    )
    return rates, calls, goes_on


def _settled(scheduler: Any) -> int | None:
    """A twentieth more calls than those after which a function of the call alone stays about as it is; None where it never does."""
    if type(scheduler) is not lr_scheduler.LambdaLR:
        return None
    rates = _rates(scheduler, _AHEAD)
    near = _STAYS * max(rates, default=0.0)
    moving = [i for i, rate in enumerate(rates) if abs(rate - rates[-1]) > near]
    if not moving or rates[-1] != rates[-2]:
        return None
    low, high = _AHEAD[moving[-1]], _AHEAD[moving[-1] + 1]
    while high - low > 1:
        middle = (low + high) // 2
        there = _rates(scheduler, (middle,))
        low, high = (middle, high) if not there or abs(there[0] - rates[-1]) > near else (low, middle)
    return math.ceil(_BEYOND * high)


def _peaks(scheduler: Any, calls: int | None) -> tuple[float | None, float | None]:
    """``(peak, reached)`` of a schedule that is a function of the call alone: over a million calls, and over those of the run."""
    if type(scheduler) is not lr_scheduler.LambdaLR and type(scheduler) is not lr_scheduler.LinearLR:
        return None, None
    at = sorted({*_AHEAD, calls or 0})
    rates = _rates(scheduler, at)
    if len(rates) < len(at) or (rates[-1] == max(rates) and rates[-1] > rates[-2]):
        return None, None  # it cannot be told, or rises for ever, as a search for a learning rate does
    return max(rates), max(rate for rate, call in zip(rates, at, strict=True) if call <= calls) if calls else None


def _rates(scheduler: Any, calls: Iterable[int]) -> tuple[float, ...]:
    """The first group's LR at these calls, from a copy that holds no real parameters; empty where it cannot be told."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) or getattr(scheduler, "optimizer", None) is None:
        return ()
    try:
        twin = copy.copy(scheduler)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=float(scheduler.base_lrs[0]))
        optimizer.param_groups[0].update({k: v for k, v in scheduler.optimizer.param_groups[0].items() if k != "params"})
        twin.optimizer = optimizer
        twin.__dict__.update(
            {k: copy.copy(v) for k, v in vars(scheduler).items() if k not in ("optimizer",) and not k.startswith("_schedulers")}
        )
        if getattr(scheduler, "_schedulers", None):
            return ()
        twin.last_epoch, twin._step_count = 0, 1
        optimizer.param_groups[0]["lr"] = float(scheduler.base_lrs[0])
        optimizer._opt_called = True  # type: ignore[attr-defined]
        values = []
        for call in calls:
            if isinstance(twin, lr_scheduler.CosineAnnealingWarmRestarts):
                twin.step(call)  # it counts within its cycle
                values.append(float(optimizer.param_groups[0]["lr"]))
                continue
            twin.last_epoch = call
            values.append(float(twin._get_closed_form_lr()[0]) if hasattr(twin, "_get_closed_form_lr") else float(twin.get_lr()[0]))
            optimizer.param_groups[0]["lr"] = values[-1]
    except Exception:
        return ()
    return tuple(values)
