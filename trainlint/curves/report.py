"""Named curves as a report that every format can render, as JSON, and as rows of a table of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainlint.curves.scaling import Scaled, Scaling
from trainlint.curves.shapes import SHAPES
from trainlint.details import Detail, Line, Series, Table
from trainlint.engine import Judge, root_cause
from trainlint.measurements import CurveRun, Curves, Measurement, Unmeasured
from trainlint.registry import load_catalogue
from trainlint.report import Report, Subject
from trainlint.settings import Settings
from trainlint.version import __version__

__all__ = ["label", "report_of", "to_json", "worst_first"]

SCHEMA = 1
RULE = "curve-shape"
_MOST_CHARTS = 30
"""Charts of healthy and faulty runs that a report shows beside those of its findings."""
_ORDER = {name: i for i, name in enumerate(SHAPES)}


def to_json(curves: Curves, scaling: Scaling | None = None) -> dict[str, Any]:
    """One log as plain values; numbers that are not finite are the words ``nan``, ``inf`` and ``-inf``.

    With ``scaling`` each run that was compared with the others' line says where it stands.
    """
    compared = {run.name: run for run in scaling.runs} if scaling is not None else {}
    return {
        "schema": SCHEMA,
        "file": curves.file,
        "format": curves.format,
        "runs": [
            {
                "name": run.name,
                "shape": run.shape,
                "also": list(run.also),
                "evidence": {"summary": run.summary, "not": run.not_this, **{key: _plain(value) for key, value in run.evidence.items()}},
                "first_action": run.first_action,
                "columns": run.columns,
                **({"scaling": _compared(compared[label(curves, run)])} if label(curves, run) in compared else {}),
            }
            for run in curves.runs
        ],
        "notes": [*curves.notes, *dict.fromkeys(note for run in curves.runs for note in run.notes)],
    }


def _compared(run: Scaled) -> dict[str, Any]:
    return {"size": run.size, "loss": run.loss, "predicted": run.predicted, "ratio": run.ratio, "verdict": run.verdict}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def worst_first(logs: Sequence[Curves]) -> list[tuple[Curves, CurveRun]]:
    """Every run with its log, the most broken first; of one shape in the order given."""
    return sorted(((log, run) for log in logs for run in log.runs), key=lambda pair: _ORDER.get(pair[1].shape, len(_ORDER)))


def label(log: Curves, run: CurveRun) -> str:
    """What tells a run from those of all logs."""
    return f"{log.file} ({run.name})" if run.name else log.file


def report_of(logs: Sequence[Curves], settings: Settings, scaling: Scaling | None = None) -> Report:
    """Judge all runs by the rule for curves; the overview holds the table of runs and their charts."""
    several = sum(len(log.runs) for log in logs) > 1
    runs = tuple(_titled(replace(run, name=label(log, run) if several else run.name)) for log, run in worst_first(logs))
    merged = Curves(file=", ".join(log.file for log in logs), format=", ".join(dict.fromkeys(log.format for log in logs)), runs=runs)

    def measure(kind: type[Measurement]) -> Measurement | Unmeasured:
        return merged if kind is Curves else Unmeasured(name=kind.name, reason="this is a log, not a run")

    catalogue = load_catalogue().choose([RULE], (), settings.options)
    findings = Judge(catalogue, measure).findings()
    drawn = [detail for finding in findings if finding.failed for detail in finding.details]
    notes = [f"{log.file}: {note}" for log in logs for note in (*log.notes, *dict.fromkeys(n for run in log.runs for n in run.notes))]
    name = logs[0].file if len(logs) == 1 else f"{len(logs)} logs"
    return Report(
        subject=Subject(kind="log", name=name, notes=tuple(notes)),
        findings=findings,
        start_here=root_cause(findings, catalogue.explains),
        overview=tuple(detail for detail in _overview(logs, runs, several=several, scaling=scaling) if detail not in drawn),
        version=__version__,
    )


def _titled(run: CurveRun) -> CurveRun:
    """The run with its name before the titles of its charts."""
    if not run.name:
        return run
    return replace(run, charts=tuple(replace(c, title=f"{run.name}: {c.title.rsplit(': ', 1)[-1]}") for c in run.charts))


def _overview(logs: Sequence[Curves], runs: Sequence[CurveRun], *, several: bool, scaling: Scaling | None) -> list[Detail]:
    shown: list[Detail] = []
    if several:
        rows = tuple((run.shape, label(log, run), run.summary, run.first_action) for log, run in worst_first(logs))
        shown.append(Table(title="Runs, the most broken first", columns=("shape", "run", "what was seen", "first action"), rows=rows))
    if scaling is not None:
        shown += [_scaling_chart(scaling), _scaling_table(scaling)]
    charts = [chart for run in runs for chart in (run.charts[:1] if several else run.charts)]
    return [*shown, *charts[:_MOST_CHARTS]]


def _scaling_chart(scaling: Scaling) -> Series:
    sizes = tuple(run.size for run in scaling.runs)
    return Series(
        title=f"Scaling: loss ∝ size^−{scaling.exponent:.3g}",
        x_label="size",
        y_label="final loss",
        lines=(
            Line(name="runs", x=sizes, y=tuple(run.loss for run in scaling.runs)),
            Line(name="power law", x=(*sizes, 10 * sizes[-1]), y=tuple(map(scaling.at, (*sizes, 10 * sizes[-1])))),
        ),
        log_x=True,
        log_y=True,
    )


def _scaling_table(scaling: Scaling) -> Table:
    rows = tuple((run.name, run.size, run.loss, run.predicted, run.ratio, run.verdict) for run in scaling.runs)
    return Table(
        title="Each run against the line through the others", columns=("run", "size", "loss", "predicted", "ratio", "verdict"), rows=rows
    )
