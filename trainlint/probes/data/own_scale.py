"""Whether the validation rows of a table were scaled by statistics of their own: these come out exactly, column by column."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np
import torch

from trainlint.probes.data.ridge import Rows
from trainlint.probes.data.split_samples import Split, read_split
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["OwnScale", "own_scale"]

#: Columns and rows that must agree; how exactly, in single precision; the share of different values of a measured quantity.
_COLUMNS, _ROWS, _EXACT, _DIFFERENT = 3, 40, 2e-5, 0.5


@dataclass(frozen=True)
class OwnScale:
    """How validation was scaled alone."""

    how: str
    columns: int
    rows: int
    place: Place | None


def own_scale(recording: Recording, deadline: float) -> OwnScale | None:
    """None where validation is no table, was not read whole, or its columns are not exactly of unit range or unit deviation."""
    try:
        split, train = (read_split(recording, phase, deadline) for phase in ("val", "train"))
    except CannotMeasureError:
        return None
    if split.random or len(split.indices) != split.total or split.total < _ROWS:
        return None
    values, learned = _table(split), _table(train)
    if values is None or learned is None or learned.shape[1] != values.shape[1] or bool((learned == values[0]).all(1).any()):
        return None  # other columns, or training rows again, which may well be scaled by themselves
    measured = [c for c in values.T if len(np.unique(c)) > _DIFFERENT * len(c)]
    if len(measured) < _COLUMNS:
        return None
    for how, fits in (("the range 0 to 1", _is_unit_range), ("mean 0 and standard deviation 1", _is_standard)):
        if all(fits(column) for column in measured):
            return OwnScale(how, len(measured), split.total, _second_fit(recording))
    return None


def _table(split: Split) -> Rows | None:
    """The rows of the one table among the inputs."""
    tables = [rows for path, rows in split.inputs.items() if split.kinds[path] == "table"]
    alike = len(tables) == 1 and len({r.numel() for r in tables[0]}) == 1  # graphs are joined end to end, each of its own size
    found: Rows | None = torch.cat([r.detach().cpu().double().reshape(1, -1) for r in tables[0]]).numpy() if alike else None
    return found


def _is_unit_range(column: Rows) -> bool:
    low, high = float(column.min()), float(column.max())
    return abs(high - 1) < _EXACT and (abs(low) < _EXACT or abs(low + 1) < _EXACT)


def _is_standard(column: Rows) -> bool:
    spreads = (float(column.std()), float(column.std(ddof=1)))
    return abs(float(column.mean())) < _EXACT and any(abs(s - 1) < _EXACT for s in spreads)


def _second_fit(recording: Recording) -> Place | None:
    """The second line that fits the same scaler, in the script."""
    for file in {p[0] for p in recording.places.values() if p is not None}:
        tree = source_tree(file)
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)] if tree is not None else []
        fits = [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "fit_transform"]
        if len(fits) > 1:
            last = max(fits, key=lambda call: call.lineno)
            return file, last.lineno, ""
    return None
