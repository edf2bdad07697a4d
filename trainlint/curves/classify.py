"""From a log, or numbers at hand, to named curves: :func:`classify`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from trainlint.curves.charts import charts
from trainlint.curves.errors import LogError
from trainlint.curves.log import Log
from trainlint.curves.readers import read_log
from trainlint.curves.roles import Chosen
from trainlint.curves.runs import Run, runs_of
from trainlint.curves.shapes import SHAPES, Verdict, name_shape
from trainlint.measurements.curves import CurveRun, Curves

__all__ = ["classify"]

_MOST_NAMED = 20
"""Column names listed in a refusal."""
_NAME = re.compile(r"[\w@][\w@./:()+-]{0,39}(?: [\w@./:()+-]{1,39})?")
"""What can be a column's name in a text; more words, or other signs, that stood before a number are a piece of prose or code."""


def classify(source: Any, *, train: str = "", val: str = "", metric: str = "", lr: str = "") -> Curves:
    """Name the shape of the curves in a training log or history.

    Args:
        source: The path of a log of any known format; or numbers: a mapping from names to sequences (a Keras ``History`` or its
            ``history``, a data frame), or a sequence of mappings, one a step or epoch. NaN and infinity are welcome.
        train: Column of the training loss; several to be summed are joined by ``+``. Guessed from the names when empty, like the others.
        val: Column of the validation loss.
        metric: Column of the metric; its name says whether higher is better, else the way it went does.
        lr: Column of the learning rate.

    Returns:
        The runs in the order of the log. ``shape`` of a run is one of ``diverged``, ``broken``, ``too-good``, ``overfit``, ``oscillating``,
        ``spikes``, ``flat-then-drop``, ``early-decay``, ``underfit``, ``plateau``, ``val-better``, ``still-improving``, ``healthy``,
        and ``too-short`` or ``not-a-curve`` where nothing can be said.

    Raises:
        LogError: The file cannot be read, or has no column of that name.
    """
    log = read_log(source) if isinstance(source, str | os.PathLike) else _from_history(source)
    if log.refusal:
        return _refused(log, log.refusal)
    runs = runs_of(log, Chosen(train, val, metric, lr))
    if not runs:
        names = [name for name in log.columns if not log.format.startswith("text") or _NAME.fullmatch(name)]
        more = ["…"] if len(log.columns) > min(len(names), _MOST_NAMED) else []
        seen = ", ".join([*names[:_MOST_NAMED], *more]) if names else "only pieces of text before numbers"
        words = f" (and words, not numbers, in: {', '.join(list(log.words)[:_MOST_NAMED])})" if log.words else ""
        return _refused(
            log,
            f"no column looks like a loss or a metric; there are: {seen}{words}. If one of them is what training is for, name it with --train, --val or --metric",
        )
    return Curves(file=log.file, format=log.format, runs=tuple(_named(run) for run in runs), notes=tuple(log.notes))


def _from_history(source: Any) -> Log:
    """Numbers at hand as a log."""
    values = getattr(source, "history", source)
    log = Log(file="", format="history")
    if hasattr(values, "items"):
        columns = {
            str(name): list(column) if isinstance(column, Iterable) and not isinstance(column, str) else [column]
            for name, column in values.items()
        }
        longest = max(map(len, columns.values()), default=0)
        rows: Iterable[Any] = ({name: column[i] for name, column in columns.items() if i < len(column)} for i in range(longest))
    elif isinstance(values, Iterable) and not isinstance(values, bytes):
        rows = (row if isinstance(row, Mapping) else {"value": row} for row in values)
    else:
        raise LogError(
            "history", f"a {type(source).__name__} is no history; give a path, a mapping from names to numbers, or a list of mappings"
        )
    for row in rows:
        cells = {str(name): cell if isinstance(cell, str) else _number(cell) for name, cell in row.items()}
        log.add({name: cell for name, cell in cells.items() if cell is not None})
    if not log.columns:
        raise LogError("history", "there are no numbers in it")
    return log


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _refused(log: Log, why: str) -> Curves:
    return Curves(
        file=log.file,
        format=log.format,
        runs=(_run(Run(), Verdict("not-a-curve", f"{why[0].upper()}{why[1:]}.", {})),),
        notes=tuple(log.notes),
    )


def _named(run: Run) -> CurveRun:
    return _run(run, name_shape(run))


def _run(run: Run, verdict: Verdict) -> CurveRun:
    shape = SHAPES[verdict.shape]
    columns = {key: run.columns.get(key) for key in ("train", "val", "metric", "lr")}
    return CurveRun(
        name=run.name,
        shape=verdict.shape,
        also=verdict.also,
        summary=verdict.summary,
        evidence=verdict.evidence,
        first_action=f"{shape.first_action} {verdict.also_do}".rstrip(),
        not_this=shape.not_this,
        columns=columns,
        charts=charts(run, verdict),
        notes=run.notes,
    )
