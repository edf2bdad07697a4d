"""Which rules a watched run is judged by, and the report it ends in. No torch: the parent process uses it as well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

from trainlint.details import Detail, Line, Series
from trainlint.engine import Judge
from trainlint.errors import TrainlintError
from trainlint.evidence import Evidence
from trainlint.finding import Finding
from trainlint.measurements import Activations, CurveRun, Curves, Loop, Measurement, NonFinite, Parameters, Ranks, WatchedRun
from trainlint.registry import Catalogue, load_catalogue
from trainlint.report import Report
from trainlint.scanning import judge
from trainlint.settings import Settings
from trainlint.suppression import heard
from trainlint.watching.history import History

__all__ = ["pictures", "progress_line", "report", "rules_of_a_watch", "verdicts"]

#: What a watch measures, by name; rules that require more belong to a scan. ``curves`` is made at the end of the run.
_MEASURED = frozenset({*(kind.name for kind in (NonFinite, Loop, Parameters, Activations, WatchedRun, Ranks)), "curves"})
#: Rules on what only a whole run shows.
_WHOLE = frozenset({WatchedRun.name, Ranks.name, "curves"})
#: Rules whose inputs a watch fills well enough. The others that need no more ask for what only the first steps show.
_JUDGED = ("train-mode", "eval-mode", "non-finite", "dead-units")


def rules_of_a_watch(settings: Settings, *, several: bool) -> Catalogue:
    """The rules that a watched run can be judged by, of those that the settings choose; with several processes also those on ranks."""
    chosen = load_catalogue().choose(settings.select, settings.ignore, settings.options)
    kept = tuple(
        rule
        for rule in chosen.rules
        if (needs := {kind.name for kind in rule.requires}) <= _MEASURED
        and (rule.name in _JUDGED or needs & _WHOLE)
        and (several or Ranks.name not in needs)
    )
    return Catalogue(kept, chosen.explains)


def verdicts(catalogue: Catalogue, evidence: Evidence) -> tuple[Finding, ...]:
    """The failures that are certain by now."""
    return tuple(f for f in Judge(catalogue, evidence.measure, hear=heard).findings() if f.failed)


def progress_line(history: History, steps: int, epoch: int, step_seconds: float | None) -> str:
    """``epoch 2, step 1,200 · loss 0.31 · lr 0.001 · gradient norm 0.8 · 62 steps/s``."""
    newest: dict[str, float] = {}
    for row in history.rows[-8:]:
        newest.update(row)
    parts = [f"epoch {epoch}, step {steps:,}" if epoch else f"step {steps:,}"]
    for key, name in (("loss", "loss"), ("lr", "lr"), ("grad_norm", "gradient norm")):
        if key in newest:
            parts.append(f"{name} {newest[key]:.4g}")
    if history.validation:
        parts.append(f"validation loss {history.validation[-1]['val_loss']:.4g}")
    if step_seconds:
        parts.append(f"{1 / step_seconds:.3g} steps/s")
    if (waiting := newest.get("data_share", 0.0)) > 0.2:
        parts.append(f"{waiting:.0%} of the time waiting for data")
    return " · ".join(parts)


def report(
    evidence: Evidence, history: History, settings: Settings, *, name: str, command: str = "", seconds: float = 0.0, status: str = "ended",
    kind: str = "script", several: bool = False,
) -> Report:  # fmt: skip
    """Judge what was measured, and put the curves and their verdict beside it."""
    if (curves := _curves(history, evidence)) is not None:
        evidence.measurements[curves.name] = curves
    catalogue = rules_of_a_watch(settings, several=several)
    names = tuple(rule.name for rule in catalogue.rules)
    made = judge(
        evidence, replace(settings, select=names, ignore=()), name=name, command=command, seconds=seconds, kind=kind,
        status="recorded" if status in ("ended", "stopped") else status,
    )  # fmt: skip
    notes = [*made.subject.notes, *_notes(evidence)]
    subject = replace(made.subject, notes=tuple(notes))
    return replace(made, subject=subject, overview=(*pictures(history), *made.overview))


def _notes(evidence: Evidence) -> Iterator[str]:
    run = evidence.measurements.get(WatchedRun.name)
    if isinstance(run, WatchedRun) and run.steps:
        waiting = f", {run.data_share:.0%} of the time between steps waiting for data" if run.data_share is not None else ""
        yield f"watched {run.steps:,} step{'' if run.steps == 1 else 's'} and {run.epochs} whole training pass{'' if run.epochs == 1 else 'es'}{waiting}"


def _curves(history: History, evidence: Evidence) -> Measurement | None:
    """What the classifier of curves says of the history; None where it is not installed, or one loss does not stand for the run."""
    loop = evidence.measurements.get(Loop.name)
    several_losses = isinstance(loop, Loop) and loop.stepped_optimizers > 1
    if several_losses or not history.rows:
        return None
    try:
        classify = import_module("trainlint.curves.classify").classify
    except ImportError:
        return None
    with suppress(TrainlintError):
        found: Curves = classify(history.in_order(), train="loss", val="val_loss" if history.validation else "", lr="lr")
        broken = evidence.measurements.get(NonFinite.name)
        return replace(
            found, runs=tuple(_without_referral(run, broken if isinstance(broken, NonFinite) else NonFinite()) for run in found.runs)
        )
    return None


def _without_referral(run: CurveRun, broken: NonFinite) -> CurveRun:
    """A loss that is not finite sends the reader of a log to a watch: this is one, and its rule on that says what to do."""
    if "not_finite" not in run.evidence:
        return run
    if broken.found:
        return replace(run, first_action=f"Begin with non-finite, which tells of step {broken.step:,}, the first with such a value.")
    return replace(run, first_action=import_module("trainlint.curves.shapes").SHAPES[run.shape].first_action)


def pictures(history: History) -> Iterator[Detail]:
    """Curves of the run."""
    groups = (
        ("Loss", "loss", (("loss", "training"), ("val_loss", "validation")), True),
        ("Learning rate", "learning rate", (("lr", "learning rate"),), False),
        ("Gradient norm and update ratio", "2-norm, |update| / |weight|", (("grad_norm", "gradient norm"), ("update_ratio", "update ratio")), True),
        ("Memory", "MB", (("memory", "memory"),), False),
    )  # fmt: skip
    for title, label, columns, log in groups:
        lines = []
        for key, name in columns:
            x, y = history.column(key)
            if len(x) > 1:
                scale = 1e-6 if key == "memory" else 1.0
                stride = max(1, len(x) // 1000)
                values = [v * scale if math.isfinite(v) else math.nan for v in y[::stride]]
                lines.append(Line(name=name, x=tuple(x[::stride]), y=tuple(values)))
        if lines:
            positive = all(v > 0 for line in lines for v in line.y if math.isfinite(v))
            yield Series(title=title, x_label="step", y_label=label, lines=tuple(lines), log_y=log and positive)
