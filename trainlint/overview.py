"""What every report shows, whether or not anything failed: the data, the loop, the experiments' curves, the layers along depth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from trainlint.details import Bars, Code, Detail, Line, Mark, Series, Table, Timeline, TimelineEvent
from trainlint.evidence import Evidence
from trainlint.finding import Finding
from trainlint.measurements import (
    Activations,
    Batches,
    Comparison,
    DataScan,
    Event,
    LabelCount,
    Labels,
    LearningRate,
    Loop,
    Measurement,
    Optimizers,
    Overfit,
    Parameters,
    SchedulerInfo,
    layer_names,
)  # fmt: skip
from trainlint.rate_chart import rate_chart
from trainlint.wording import number

__all__ = ["overview"]

#: Events shown of the loop: enough for two steps, a validation pass and the first step after it.
_EVENTS = 80
#: Labels that one chart still tells apart, and layers along depth.
_MOST_LABELS, _MOST_LAYERS = 120, 64
#: Functions that can leave a unit at zero for good.
_RECTIFIERS = frozenset({"relu", "relu6", "threshold", "hardswish", "gelu"})
_PARTS = {"train": "training", "val": "validation"}

_M = TypeVar("_M", bound=Measurement)
#: Kind, file and line of an event.
_Place = tuple[str, str, int]
_Faults = dict[_Place, list[bool]]


def overview(evidence: Evidence, findings: Sequence[Finding] = ()) -> tuple[Detail, ...]:
    """The pictures of a run under their topics, in the order of the playbook; what ``findings`` call wrong in the loop is marked there too."""
    faults = [_faults(d) for f in findings if f.failed for d in f.details if isinstance(d, Timeline)]
    parts = (
        ("The reference run", _reference(evidence)),
        ("The data", _data(evidence)),
        ("The loop", _loop(evidence, faults)),
        ("Learning", _learning(evidence)),
        ("Along depth", _depth(evidence)),
    )
    return tuple(replace(detail, topic=topic) for topic, details in parts for detail in details)


def _faults(timeline: Timeline) -> _Faults:
    """Which events of a place, in turn, a finding marks in its own picture of the loop."""
    marked: _Faults = {}
    for event in timeline.events:
        marked.setdefault((event.kind, event.file, event.line), []).append(event.flagged)
    return marked


def _found(evidence: Evidence, kind: type[_M]) -> _M | None:
    """A measurement, if it was made."""
    found = evidence.measurements.get(kind.name)
    return found if isinstance(found, kind) else None


def _reference(evidence: Evidence) -> Iterator[Detail]:
    if (comparison := _found(evidence, Comparison)) and comparison.courses:
        yield from _comparison(comparison)


def _comparison(comparison: Comparison) -> Iterator[Detail]:
    judged = "validation loss" if comparison.validation else "loss on training batches"
    at = tuple(float(i) for i in comparison.checks)
    yield Series(
        title=f"Before and after: {comparison.steps} steps from the same weights",
        x_label="step",
        y_label=judged,
        lines=tuple(Line(name=c.name, x=at, y=c.losses) for c in comparison.courses),
    )
    yield Table(
        title=f"At the end, over {len(comparison.courses[0].finals)} seeds",
        columns=("configuration", judged, "lowest", "highest", "accuracy", "lowest accuracy", "highest accuracy"),
        rows=tuple((c.name, *_spread(c.finals), *_spread(c.accuracies)) for c in comparison.courses),
    )


def _spread(values: tuple[float, ...]) -> tuple[float | None, float | None, float | None]:
    """Mean, lowest and highest."""
    return (sum(values) / len(values), min(values), max(values)) if values else (None, None, None)


def _data(evidence: Evidence) -> Iterator[Detail]:
    if batches := _found(evidence, Batches):
        views = (*batches.train[:1], *batches.val[:1])
        for view in views:
            yield from (d for d in (view.pictures, view.table) if d is not None)
        yield from (view.columns for view in views[:1] if view.columns is not None)
        yield from (histogram for view in views for histogram in view.histograms)
    if scan := _found(evidence, DataScan):
        labels = _found(evidence, Labels)
        maps = {
            leaf.path for view in (batches.train if batches else ()) for leaf in view.leaves if leaf.kind == "mask" and len(leaf.shape) > 2
        }
        for counted in scan.labels:
            if 1 < len(counted.counts) <= _MOST_LABELS:
                yield _label_histogram(counted, (labels.names if labels else None) or {}, "pixels" if counted.path in maps else "labels")


def _label_histogram(counted: LabelCount, names: dict[str, dict[str, str]], unit: str) -> Bars:
    known = names.get(counted.phase, {})
    seen = sum(counted.counts.values())
    return Bars(
        title=f"Labels of the {_PARTS.get(counted.phase, counted.phase)} data",
        value_label=f"{'whole dataset' if counted.complete else 'samples read'}: {seen:,} {unit}",
        labels=tuple(f"{label}: {known[label]}" if label in known else label for label in counted.counts),
        values=tuple(map(float, counted.counts.values())),
    )


def _loop(evidence: Evidence, faults: Sequence[_Faults]) -> Iterator[Detail]:
    loop = _found(evidence, Loop)
    if not loop or not loop.events:
        return
    loaders = {e.subject: e.phase for e in loop.events if e.kind == "epoch" and e.phase}
    events: list[TimelineEvent] = []
    evaluating, seen = False, Counter[_Place]()
    for event in _first([e for e in loop.events if e.kind != "set_epoch"]):
        subject = event.subject
        if evaluating and event.info.get("training") is True:
            # Frameworks set `training` of each module, without a call of train() that could be seen.
            events.insert(len(events) - (events[-1].kind == "batch"), TimelineEvent(kind="mode", label="set back without train()"))
        evaluating = _evaluating(event, before=evaluating)
        if event.kind in ("epoch", "batch", "forward") and (phase := event.phase or loaders.get(subject)):
            subject = f"{subject} ({_PARTS.get(phase, phase)})".strip()
        file, line = (event.where.container, event.where.line) if event.where else ("", 0)
        place = (event.kind, file, line)
        # A finding draws fewer events: what comes after them is as the last of its place.
        flagged = any(marks[place][min(seen[place], len(marks[place]) - 1)] for marks in faults if place in marks)
        events.append(TimelineEvent(kind=event.kind, label=f"{event.kind} {subject}".strip(), file=file, line=line, flagged=flagged))
        seen[place] += 1
    yield Timeline(title="The loop as it ran", events=tuple(events))


def _first(events: Sequence[Event]) -> Sequence[Event]:
    """As many events as are shown; where there are more, they end with a step and what belongs to it."""
    ends = [i + 1 for i, event in enumerate(events[:_EVENTS]) if event.kind in ("step", "schedule", "clear")]
    return events[: ends[-1]] if ends and len(events) > _EVENTS else events[:_EVENTS]


def _evaluating(event: Event, *, before: bool) -> bool:
    """Whether the last that was seen of the models is eval mode."""
    if event.kind == "forward":
        return before and event.info.get("training") is not True
    return event.kind == "eval" or (before and event.kind != "train")


def _learning(evidence: Evidence) -> Iterator[Detail]:
    optimizers = _found(evidence, Optimizers)
    if overfit := _found(evidence, Overfit):
        yield Series(
            title="Overfitting one batch",
            x_label="step",
            y_label="loss",
            lines=tuple(
                Line(name=f"{a.optimizer}, learning rate {number(a.lr)}", x=tuple(map(float, range(len(a.losses)))), y=a.losses)
                for a in overfit.attempts
            ),
            log_y=all(x > 0 for a in overfit.attempts for x in a.losses),
        )
    if rate := _found(evidence, LearningRate):
        yield rate_chart(rate)
        if rate.suggestion and optimizers and not optimizers.schedulers:
            yield _one_cycle(rate, optimizers)
    for scheduler in optimizers.schedulers if optimizers else ():
        if optimizers and len(scheduler.preview) > 1:
            yield _schedule(scheduler, optimizers)


def _one_cycle(rate: LearningRate, optimizers: Optimizers) -> Code:
    """The schedule that goes with the band, in torch's own defaults (Smith and Topin 2017)."""
    steps, epochs = optimizers.steps_per_epoch, optimizers.epochs
    unknown = "epochs * len(train_loader)," if rate.has_loader else "total_steps,  # optimizer steps of the whole run"
    total = f"{steps * epochs},  # {epochs} epochs of {steps} steps" if steps and epochs else unknown
    return Code(
        title="One-cycle settings for this band",
        text="scheduler = torch.optim.lr_scheduler.OneCycleLR(\n"
        f"    optimizer, max_lr={rate.suggestion:.2g},\n"
        f"    total_steps={total}\n"
        "    pct_start=0.3, div_factor=25, final_div_factor=1e4,\n"
        ")  # scheduler.step() after every optimizer.step()",
    )


def _schedule(scheduler: SchedulerInfo, optimizers: Optimizers) -> Series:
    """The rate over the schedule, with the end of the run marked."""
    calls = scheduler.preview_calls or scheduler.horizon or len(scheduler.preview)
    stride = max(calls / len(scheduler.preview), 1.0)
    unit = {"step": "optimizer step", "epoch": "epoch"}.get(scheduler.cadence, "scheduler step")
    steps = optimizers.epochs if scheduler.cadence == "epoch" else None
    if scheduler.cadence == "step" and optimizers.epochs and optimizers.steps_per_epoch:
        steps = optimizers.epochs * optimizers.steps_per_epoch
    return Series(
        title=f"Learning rate over the first {calls:,} {unit}s of the schedule"
        if scheduler.preview_cut
        else "Learning rate over the whole schedule",
        x_label=unit,
        y_label="learning rate",
        lines=(Line(name=scheduler.kind, x=tuple(i * stride for i in range(len(scheduler.preview))), y=scheduler.preview),),
        marks=(Mark(label=f"the run ends ({steps:,})", x=float(steps)),) if steps else (),
    )


def _depth(evidence: Evidence) -> Iterator[Bars]:
    parameters = _found(evidence, Parameters)
    weights = [p for p in parameters.parameters if not p.norm_or_bias and p.requires_grad] if parameters else []
    shown = [p for p in weights if p.gradient in ("finite", "zero")][:_MOST_LAYERS]
    names = tuple(p.name for p in shown)
    if len(shown) > 1:
        norms = tuple(p.gradient_norm for p in shown)
        yield Bars(title="Gradient norm along depth", value_label="gradient norm, first step", labels=names, values=norms, log=True)
    if activations := _found(evidence, Activations):
        yield from _activations(activations)
    if len(shown) > 1 and any(p.update_ratio for p in shown):
        yield Bars(
            title="Update to weight ratio along depth",
            value_label="|update| / |weight|",
            labels=names,
            values=tuple(p.update_ratio or 0.0 for p in shown),
            log=True,
            marks=(Mark(label="usual, about 1e-3", y=1e-3),),
        )


def _activations(activations: Activations) -> Iterator[Bars]:
    names = layer_names(activations.layers)
    layers = [(name, a) for name, a in zip(names, activations.layers, strict=True) if math.isfinite(a.std)][:_MOST_LAYERS]
    if len(layers) > 1:
        yield Bars(
            title="Activation scale along depth",
            value_label="standard deviation of the output, first step",
            labels=tuple(name for name, _ in layers),
            values=tuple(a.std for _, a in layers),
            log=True,
        )
    if rectified := [(name, a) for name, a in layers if a.kind in _RECTIFIERS]:
        yield Bars(
            title="Dead units along depth",
            value_label="share of units silent on every sample",
            labels=tuple(name for name, _ in rectified),
            values=tuple(a.dead_units for _, a in rectified),
            marks=(Mark(label="all", y=1.0),),
        )
