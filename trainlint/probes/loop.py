"""The loop, its optimizers and its schedulers, as the recorder's books have them."""

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
from trainlint.measurements import Event, GroupInfo, Loop, OptimizerInfo, Optimizers, SchedulerInfo, Step, ValidationPass
from trainlint.probes.eval_dropout import dropout_in_evaluation
from trainlint.probes.loss import is_mean_reduced
from trainlint.probes.pretrained import pretrained_parameters
from trainlint.probes.value_source import argument_named, rate_written
from trainlint.record.modes import depends_on_mode
from trainlint.record.recording import Call, Happening, OptimizerSeen, Recording, SchedulerSeen, StepSeen
from trainlint.settings import Settings

__all__ = ["measure_loop", "measure_optimizers", "steps_per_epoch"]


def measure_loop(recording: Recording, deadline: float, settings: Settings) -> Loop:
    """Digest the event log."""
    at = recording.frames.location
    trained = [c for c in recording.calls if c.trained]
    off = [c for c in trained if c.modules_off]
    whole = [c for c in trained if not c.training]
    late = (off or whole)[:1]
    steps = recording.steps
    models = recording.models()
    accumulation = Counter(len(s.backwards) for s in steps if s.backwards).most_common(1)
    return Loop(
        events=() if recording.own_loop else tuple(_event(recording, h, i) for i, h in enumerate(recording.happenings[:2000])),
        steps=tuple(_step(recording, s) for s in steps),
        epochs_begun=sum(1 for entry in recording.loaders_of("train") for i in entry.iterations if i.phase == "train"),
        has_loader=bool(recording.loaders_of("train")),
        has_validation=bool(recording.loaders_of("val")),
        optimizers=len(recording.optimizers),
        stepped_optimizers=len(recording.training),
        validation=tuple(_validation(recording)),
        train_forwards=len(trained),
        eval_mode_forwards=len(whole),
        eval_mode_where=at(late[0].place) if late else None,
        eval_set_where=at(late[0].mode_place) if late else None,
        eval_mode_epoch=_epoch(recording, late[0]) if late else None,
        eval_mode_modules=tuple(dict.fromkeys(name for c in off for name in c.modules_off)),
        mode_dependent=tuple(dict.fromkeys(type(m).__name__ for model in models for m in model.modules() if depends_on_mode(m))),
        frozen_eval=bool(off) and all(c.off_are_frozen for c in off),
        gradient_scaler=any(s.scaler or s.scaled for s in steps),
        accumulation=accumulation[0][0] if accumulation else 1,
        step_before_backward=_steps_before_backward(recording),
        clear_between_backward_and_step=bool(steps) and sum(bool(s.discarded and not s.kept) for s in steps) > len(steps) / 2,
        clear_where=next((at(s.discarded_place) for s in steps if s.discarded_place), None),
        loss_needs_divisor=_needs_divisor(recording),
        manual_updates=bool(recording.backwards) and not steps and _changed(recording, models),
        closure=any(s.closure for s in steps),
        ours=recording.own_loop,
    )


def _event(recording: Recording, happening: Happening, index: int) -> Event:
    info = {k: v if isinstance(v, bool | str) else float(v) for k, v in happening.info.items() if isinstance(v, bool | int | float | str)}
    phase = happening.iteration.phase if happening.iteration is not None else ""
    return Event(
        kind=happening.kind,
        index=index,
        phase=phase,
        where=recording.frames.location(happening.place),
        subject=happening.subject,
        info=info,
    )


def _step(recording: Recording, step: StepSeen) -> Step:
    backwards = [recording.backwards[b] for b in step.backwards]
    at = recording.frames.location
    last = backwards[-1] if backwards else (recording.backwards[step.kept[-1]] if step.kept else None)
    return Step(
        optimizer=step.optimizer,
        where=at(step.place),
        backwards=len(step.backwards),
        kept=len(step.kept),
        stale=step.stale,
        discarded=step.discarded,
        discarded_where=at(step.discarded_place),
        without_gradient=step.without_gradient,
        backward_where=at(last.place) if last else None,
        backward_values=tuple(b.value for b in backwards),
        loss_values=tuple(v for b in backwards if (v := _call_value(b.tape)) is not None),
        clipped=step.clip[0] if step.clip else None,
        clip_max_norm=step.clip[1] if step.clip else None,
        clip_where=at(step.clip[2]) if step.clip else None,
        clip_after_step=step.clip_late is not None,
        clipped_scaled=bool(step.clip and step.clip[3]),
        lr=step.lr,
        gradient_norm=step.norm,
        skipped=step.skipped,
        scaler=step.scaler,
    )


def _call_value(tape: Any) -> float | None:
    if tape is None or len(tape.observed) != 1:
        return None
    position, (args, kwargs) = next(iter(tape.observed.items()))
    try:
        with torch.no_grad():
            return float(tape.operations[position].call(*args, **kwargs).double().mean())
    except (RuntimeError, TypeError, ValueError):
        return None


def _needs_divisor(recording: Recording) -> bool | None:
    """Whether accumulated mean losses went to backward() without being divided by their number."""
    groups = [s for s in recording.steps if len(s.backwards) > 1]
    if not groups:
        return None
    backward = recording.backwards[groups[0].backwards[0]]
    value = _call_value(backward.tape)
    if backward.tape is None or value is None or not is_mean_reduced(backward.tape):
        return None
    if len({recording.backwards[b].place for b in groups[0].backwards}) > 1:
        return None  # several losses for one step, not one loss over several batches
    ratio = backward.value / value if value else math.nan
    return math.isclose(ratio, 1.0, rel_tol=0.05) if math.isfinite(ratio) else None


def _validation(recording: Recording) -> Iterable[ValidationPass]:
    if not recording.backwards:
        return  # a run that ended in its first training batch has passes without a backward() too
    at = recording.frames.location
    dropping = dropout_in_evaluation(recording)
    last = next((h.iteration for h in reversed(recording.happenings) if h.kind == "batch"), None)
    for entry in recording.loaders:
        for iteration in entry.iterations:
            broken_off = iteration is last and iteration.batches == 1 and recording.status != "ended"
            if iteration.phase != "val" or broken_off:
                continue
            calls = [c for c in recording.calls if c.iteration is iteration]
            if not calls:
                continue
            first = calls[0]
            yield ValidationPass(
                where=at(first.place),
                loop_where=at(iteration.place),
                training_mode=any(c.training and c.modules_on for c in calls) or all(c.training for c in calls),
                mode_matters=any(c.modules_on for c in calls),
                grad=any(c.grad for c in calls),
                dropout_where=at(dropping[1]) if dropping is not None and any(c.module is dropping[0].module for c in calls) else None,
                batches=iteration.batches,
            )


def _epoch(recording: Recording, call: Call) -> int | None:
    return call.iteration.number + 1 if call.iteration is not None else None


def _steps_before_backward(recording: Recording) -> bool:
    """step() comes first in each iteration: the very first one finds no gradients, the others those of the batch before."""
    steps = [s for s in recording.steps if not s.closure]
    if len(steps) < 2 or not steps[0].without_gradient or len(recording.training) > 1:
        return False
    return recording.backwards != [] and recording.backwards[0].happening > steps[0].happening


def _changed(recording: Recording, models: list[nn.Module]) -> bool:
    """Whether parameters have other values than when an optimizer was built on them, although none stepped."""
    known = [(p, recording.initial[id(p)]) for m in models for p in m.parameters() if p.requires_grad and id(p) in recording.initial]
    return any(not torch.equal(p.detach(), before) for p, before in known)


def measure_optimizers(recording: Recording, deadline: float, settings: Settings) -> Optimizers:
    """Settings of optimizers and schedulers, and how often the latter are stepped."""
    loaders = recording.loaders_of("train")
    kept = [s for s in recording.schedulers if getattr(s.scheduler, "optimizer", None) is not None or s.calls]
    epochs = next((entry.planned for entry in loaders), None)
    return Optimizers(
        optimizers=tuple(_optimizer(recording, o) for o in recording.training),
        schedulers=tuple(_scheduler(recording, s, bool(loaders), epochs) for s in kept),
        steps_per_epoch=steps_per_epoch(recording),
        rate_where=_rate_set(recording) if not kept else None,
        epochs=epochs,
    )


def _rate_set(recording: Recording) -> Location | None:
    """The first statement that writes ``group["lr"]``, in the files where optimizers are built and step."""
    places = [o.place for o in recording.training] + [s.place for s in recording.steps[:1]]
    for filename in dict.fromkeys(place[0] for place in places if place is not None):
        line = rate_written(filename)
        if line is not None:
            return recording.frames.location((filename, line, ""))
    return None


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
    return max(1, round(length / (accumulation[0][0] if accumulation and len(recording.training) == 1 else 1)))


def _depths(recording: Recording) -> dict[int, float]:
    """Id of a parameter -> its place in the order of use, 0 for the first and 1 for the last."""
    order: dict[int, None] = {}
    for backward in recording.first_tapes[:4]:
        if backward.tape is not None:
            order.update(dict.fromkeys(id(p) for p in backward.tape.parameters.values()))
    return {key: position / max(len(order) - 1, 1) for position, key in enumerate(order)}


def _optimizer(recording: Recording, seen: OptimizerSeen) -> OptimizerInfo:
    optimizer = seen.optimizer
    norms = {
        id(p) for model in recording.models() for m in model.modules() if "Norm" in type(m).__name__ for p in m.parameters(recurse=False)
    }
    loaded = {
        id(p) for model in recording.models() for m in model.modules() if id(m) in recording.loaded for p in m.parameters(recurse=False)
    }
    learned, depths = pretrained_parameters(recording), _depths(recording)
    names = {id(p): name for name, _, _, p in recording.named_parameters()}
    groups = []
    for index, group in enumerate(optimizer.param_groups):
        first = seen.settings[index] if index < len(seen.settings) else group
        base = seen.base[index] if index < len(seen.base) else first
        parameters = group["params"]
        betas = group.get("betas", ())
        size = sum(p.numel() for p in parameters)
        deep = [depths[id(p)] for p in parameters if id(p) in depths]
        groups.append(
            GroupInfo(
                lr=float(group.get("initial_lr", base.get("lr", math.nan))),
                first_lr=float(first.get("lr", math.nan)),
                weight_decay=float(group.get("weight_decay", 0.0) or 0.0),
                momentum=float(group.get("momentum", 0.0) or 0.0),
                betas=tuple(float(b) for b in betas) if isinstance(betas, list | tuple) else (),
                parameters=size,
                tensors=len(parameters),
                norm_or_bias=sum(p.dim() < 2 or id(p) in norms for p in parameters),
                pretrained=any(id(p) in loaded for p in parameters),
                pretrained_share=sum(p.numel() for p in parameters if id(p) in learned) / size if size else 0.0,
                depth=statistics.fmean(deep) if deep else None,
                names=tuple(names[id(p)] for p in parameters if id(p) in names)[:4],
            )
        )
    options = {k: v for k, v in optimizer.defaults.items() if isinstance(v, bool | str | int | float)}
    return OptimizerInfo(
        index=seen.index,
        kind=type(optimizer).__name__,
        where=recording.frames.location(seen.place),
        groups=tuple(groups),
        steps=len(seen.steps),
        options={k: v if isinstance(v, bool | str) else float(v) for k, v in options.items()},
    )


def _scheduler(recording: Recording, seen: SchedulerSeen, has_loader: bool, epochs: int | None) -> SchedulerInfo:
    scheduler = seen.scheduler
    options = {k: v for k, v in seen.initial.items() if isinstance(v, bool | str | int | float) and not k.startswith("_")}
    optimizer = getattr(scheduler, "optimizer", None)
    owner = next((o for o in recording.optimizers if o.optimizer is optimizer), None)
    own_steps = len(owner.steps) if owner else 0
    metrics = tuple(m for _, _, _, m in seen.calls if m is not None)
    cadence = _cadence(recording, seen, own_steps, has_loader)
    each_epoch = {"epoch": 1, "step": steps_per_epoch(recording)}.get(cadence)
    peak, reached = _peaks(scheduler, epochs * each_epoch if epochs and each_epoch else None)
    return SchedulerInfo(
        kind=type(scheduler).__name__,
        where=recording.frames.location(seen.place),
        optimizer=owner.index if owner else None,
        horizon=_horizon(scheduler, seen),
        stepped_where=recording.frames.location(seen.calls[0][2]) if seen.calls else None,
        calls=len(seen.calls),
        calls_per_epoch=_calls_per_epoch(recording, seen),
        cadence=cadence,
        before_optimizer=bool(seen.calls) and seen.calls[0][0] == 0 and own_steps > 0,
        metric=metrics,
        metric_rises=_metric_rises(recording, seen),
        mode=str(getattr(scheduler, "mode", "")),
        options={k: v if isinstance(v, bool | str) else float(v) for k, v in options.items()},
        preview=_preview(scheduler, seen),
        peak=peak,
        reached=reached,
        warmup_where=_warmup_set(recording, seen) if peak and reached is not None and reached < 0.5 * peak else None,
        sometimes=seen.sometimes,
        orphaned=owner is not None
        and not owner.steps
        and any(_takes_over(o.optimizer, owner.optimizer) for o in recording.optimizers if o.steps),
    )


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
    for name in ("total_steps", "T_max", "total_iters", "T_0"):
        if isinstance(value := getattr(scheduler, name, None), int):
            return value
    milestones = getattr(scheduler, "milestones", None) or getattr(scheduler, "_milestones", None)
    return int(max(milestones)) if milestones else None


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


def _preview(scheduler: Any, seen: SchedulerSeen) -> tuple[float, ...]:
    """The first group's LR over the horizon, at 200 points or so."""
    horizon = min(_horizon(scheduler, seen) or 100, 2000)
    return _rates(scheduler, range(horizon))[:: max(1, horizon // 200)]


def _peaks(scheduler: Any, calls: int | None) -> tuple[float | None, float | None]:
    """``(peak, reached)`` of a schedule that is a function of the call alone: over a million calls, and over those of the run."""
    if type(scheduler) is not lr_scheduler.LambdaLR and type(scheduler) is not lr_scheduler.LinearLR:
        return None, None
    ahead = {round(10 ** (exponent / 10)) for exponent in range(61)} | ({calls} if calls else set())
    at = sorted({0, *ahead})
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
            twin.last_epoch = call
            values.append(float(twin._get_closed_form_lr()[0]) if hasattr(twin, "_get_closed_form_lr") else float(twin.get_lr()[0]))
            optimizer.param_groups[0]["lr"] = values[-1]
    except Exception:
        return ()
    return tuple(values)
