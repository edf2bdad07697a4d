"""The history of a watched run: one JSON line for each reading, and a thinned copy in memory for charts and verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from trainlint.lines import LineFile

__all__ = ["History", "read_history"]

#: Rows of training kept in memory; beyond it every other one is dropped.
_MOST_ROWS = 4000
#: Columns that every reader can count on, in the order in which they are written.
_FIRST = ("step", "epoch", "seconds", "loss", "val_loss", "lr", "grad_norm", "update_ratio")


class History:
    """Appends rows to ``history.jsonl``; without a path they stay in memory only.

    A row holds what was read at that step: ``step`` (optimizer steps so far), ``epoch`` (training passes begun), ``seconds`` since
    the start, ``loss`` (mean since the last row), ``lr``, ``grad_norm``, ``update_ratio``, ``memory`` (bytes), ``data_share``; at the
    end of a validation pass ``val_loss``. Values that are no finite number are the words nan, inf and -inf.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self.validation: list[dict[str, float]] = []
        self._stride = self._skipped = 0
        self._file: LineFile | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            self._file = LineFile(path, on_error=lambda _: None)  # the run is worth more than its history

    def add(self, row: dict[str, float]) -> None:
        """Write a row down."""
        if "val_loss" in row:
            self.validation.append(row)
        else:
            self._keep(row)
        if self._file is not None:
            ordered = {k: row[k] for k in (*_FIRST, *row) if k in row}
            self._file.add({k: _plain(v) for k, v in ordered.items()})

    def _keep(self, row: dict[str, float]) -> None:
        self._skipped += 1
        if self._skipped <= self._stride:
            return
        self._skipped = 0
        self.rows.append(row)
        if len(self.rows) > _MOST_ROWS:
            del self.rows[1::2]
            self._stride = 2 * self._stride + 1

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one column, where it has any."""
        rows = [r for r in self.in_order() if name in r]
        return [r["step"] for r in rows], [r[name] for r in rows]

    def in_order(self) -> list[dict[str, float]]:
        """All rows that are in memory, training and validation, by step."""
        return sorted((*self.rows, *self.validation), key=lambda r: r["step"])

    def close(self) -> None:
        """Write no more to the file."""
        self._file = None


def read_history(lines: Iterable[str]) -> History:
    """Rows of a history file back in memory; a line that was cut off or is something else is left out."""
    history = History()
    for line in lines:
        try:
            row = {str(k): float(v) for k, v in json.loads(line).items()}
            row["step"]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            continue
        history.add(row)
    return history


def _plain(value: float) -> float | int | str:
    if not math.isfinite(value):
        return str(value)
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.7g}")
