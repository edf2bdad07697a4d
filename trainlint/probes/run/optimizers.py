"""Optimizers as they stand: groups, settings, how deep in the model what they hold lies."""

from __future__ import annotations

import inspect
import math
import statistics

from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers
from trainlint.probes.data.value_source import rate_written
from trainlint.probes.run.attached_schedules import attached_schedules
from trainlint.probes.run.pretrained import pretrained_parameters
from trainlint.probes.run.schedulers import scheduler_info, steps_per_epoch
from trainlint.probes.source.groups import group_picked_at
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.seen import OptimizerSeen
from trainlint.settings import Settings

__all__ = ["measure_optimizers"]


def measure_optimizers(recording: Recording, deadline: float, settings: Settings) -> Optimizers:
    """Settings of optimizers and schedulers, and how often the latter are stepped."""
    loaders = recording.loaders_of("train")
    kept = [s for s in recording.schedulers if getattr(s.scheduler, "optimizer", None) is not None or s.calls]
    epochs = next((entry.planned for entry in loaders), None)
    attached, stepped = attached_schedules(recording, epochs)
    kept = [s for s in kept if id(s.scheduler) not in stepped]
    return Optimizers(
        optimizers=tuple(_optimizer(recording, o) for o in recording.training),
        schedulers=(*(scheduler_info(recording, s, bool(loaders), epochs) for s in kept), *attached),
        steps_per_epoch=steps_per_epoch(recording),
        rate_where=_rate_set(recording) if not kept and not attached else None,
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
        id(p)
        for model in recording.models()
        for m in model.modules()
        if "Norm" in type(m).__name__
        for p in parameters_of(m, recurse=False)
    }
    loaded = {
        id(p) for model in recording.models() for m in model.modules() if id(m) in recording.loaded for p in parameters_of(m, recurse=False)
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
                where=recording.frames.location(group_picked_at(seen.place[0], index, len(optimizer.param_groups)))
                if seen.place is not None and not parameters
                else None,
                fresh=tuple(names[id(p)] for p in parameters if id(p) in names and id(p) not in learned)[:4]
                if any(id(p) in learned for p in parameters)
                else (),
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
        unused_lr=_unused_lr(seen),
    )


def _unused_lr(seen: OptimizerSeen) -> float | None:
    """The rate that the optimizer was given, not the one that it has by default, if no group was built with it."""
    given = seen.optimizer.defaults.get("lr")
    default = inspect.signature(type(seen.optimizer).__init__).parameters.get("lr")
    if given is None or (default is not None and default.default == given):
        return None
    return None if any(group.get("lr") == given for group in seen.base) else float(given)
