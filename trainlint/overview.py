"""What every report shows, whether or not anything failed: the batch, the loop, the schedule, the experiments' curves."""

from __future__ import annotations

from collections.abc import Iterator

from trainlint.details import Bars, Detail, Line, Mark, Series, Table, Timeline, TimelineEvent
from trainlint.evidence import Evidence
from trainlint.measurements import Batches, Comparison, LearningRate, Loop, Optimizers, Overfit, Parameters

__all__ = ["overview"]

#: Events shown of the loop: enough for two steps, a validation pass and the first step after it.
_EVENTS = 60


def overview(evidence: Evidence) -> tuple[Detail, ...]:
    """The pictures of a run, in the order of the playbook."""
    return tuple(_pictures(evidence))


def _pictures(evidence: Evidence) -> Iterator[Detail]:
    found = {type(m): m for m in evidence.measurements.values()}
    if isinstance(comparison := found.get(Comparison), Comparison) and comparison.courses:
        yield from _comparison(comparison)
    if isinstance(batches := found.get(Batches), Batches):
        for view in (*batches.train[:1], *batches.val[:1]):
            yield from (d for d in (view.pictures, view.table) if d is not None)
    if isinstance(loop := found.get(Loop), Loop) and loop.events:
        yield _timeline(loop)
    if isinstance(overfit := found.get(Overfit), Overfit):
        yield Series(
            title="Overfitting one batch",
            x_label="step",
            y_label="loss",
            lines=tuple(
                Line(name=f"{a.optimizer}, learning rate {a.lr:g}", x=tuple(map(float, range(len(a.losses)))), y=a.losses)
                for a in overfit.attempts
            ),
            log_y=all(x > 0 for a in overfit.attempts for x in a.losses),
        )
    if isinstance(rate := found.get(LearningRate), LearningRate):
        yield from _rates(rate)
    if isinstance(parameters := found.get(Parameters), Parameters):
        yield from _layers(parameters)
    if isinstance(optimizers := found.get(Optimizers), Optimizers):
        for scheduler in optimizers.schedulers:
            if len(scheduler.preview) > 1:
                stride = max((scheduler.horizon or len(scheduler.preview)) / len(scheduler.preview), 1.0)
                steps = tuple(i * stride for i in range(len(scheduler.preview)))
                lines = (Line(name=scheduler.kind, x=steps, y=scheduler.preview),)
                yield Series(title="Learning rate over the schedule", x_label="scheduler step", y_label="learning rate", lines=lines)


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


def _timeline(loop: Loop) -> Timeline:
    events = [e for e in loop.events if e.kind not in ("set_epoch",)][:_EVENTS]
    shown = tuple(
        TimelineEvent(
            kind=e.kind,
            label=f"{e.kind} {e.subject}".strip() + (f" ({e.phase})" if e.phase and e.kind in ("epoch", "forward") else ""),
            file=e.where.file if e.where else "",
            line=e.where.line if e.where else 0,
        )
        for e in events
    )
    return Timeline(title="The loop as it ran", events=shown)


def _rates(rate: LearningRate) -> Iterator[Series]:
    marks = [Mark(label="configured", x=rate.configured)]
    if rate.low is not None and rate.high is not None:
        marks.append(Mark(label="trains well", x=rate.low, x2=rate.high))
    finite = [(t.lr, t.score) for t in rate.trials if not t.diverged]
    lines = [Line(name="loss after a short run", x=tuple(x for x, _ in finite), y=tuple(y for _, y in finite))]
    if rate.curve_lr:
        lines.append(Line(name="classic range test", x=rate.curve_lr, y=rate.curve_loss))
    yield Series(title="Learning rates tried", x_label="learning rate", y_label="loss", lines=tuple(lines), log_x=True, marks=tuple(marks))


def _layers(parameters: Parameters) -> Iterator[Bars]:
    shown = [p for p in parameters.parameters if not p.norm_or_bias and p.requires_grad and p.gradient in ("finite", "zero")][:64]
    if len(shown) < 2:
        return
    names = tuple(p.name for p in shown)
    yield Bars(
        title="Gradient norm along depth",
        value_label="gradient norm, first step",
        labels=names,
        values=tuple(p.gradient_norm for p in shown),
        log=True,
    )
    if any(p.update_ratio for p in shown):
        ratios = tuple(p.update_ratio or 0.0 for p in shown)
        marks = (Mark(label="1e-3", y=1e-3),)
        yield Bars(
            title="Update to weight ratio along depth",
            value_label="|update| / |weight|",
            labels=names,
            values=ratios,
            log=True,
            marks=marks,
        )
