"""What a reader makes of a file: columns of numbers, thinned as they grow, so that a log of any length fits in bounded memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["MOST_COLUMNS", "Column", "Log", "Words", "number"]

MOST_COLUMNS = 1000
"""Columns kept of one file; later ones are left out."""
_MOST_CELLS = 4_000_000
"""Numbers kept of one file, 16 bytes each."""
_MOST_POINTS = 100_000
_LEAST_POINTS = 2_000
_MOST_CHANGES = 20_000
"""Changes of a text column that are kept."""
_MISSING = frozenset({"", "none", "null", "na", "n/a", "-", "--"})
_WRAPPED = re.compile(r"(?:[a-z_.]+\()?[\[(]*\s*([-+]?[\d.]+(?:e[-+]?\d+)?|nan|[-+]?inf)\s*(?:[,\])].*)?", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "eval": "val", "test": "test"}
_SPLIT_COLUMNS = frozenset({"mode", "phase", "split", "stage", "subset", "_type"})
_KEY_COLUMNS = frozenset({"metric", "key", "tag", "name", "variable"})
_NAMING = _SPLIT_COLUMNS | _KEY_COLUMNS
"""Columns whose words may name the others."""


def number(text: str) -> float | None:
    """The number that a cell holds: ``0.5``, ``12.3%``, ``nan``, ``-inf``, ``[1e-3]``, ``tensor(0.5)``, ``0,5``; None for a word or an empty cell."""
    word = text.strip().strip("\"'").strip()
    if word.lower() in _MISSING or len(word) > 64:
        return None
    try:
        return float(word)
    except ValueError:
        pass
    if word.endswith("%"):
        return number(word[:-1])
    if re.fullmatch(r"[-+]?\d+,\d+", word):
        return float(word.replace(",", "."))
    wrapped = _WRAPPED.fullmatch(word) if word[0] in "[(" or word.startswith("tensor(") else None
    if wrapped:
        try:
            return float(wrapped[1])
        except ValueError:
            return None
    return None


@dataclass
class Column:
    """Numbers of one name with the rows they stood in. When it is full, every second number is dropped and only every second kept on."""

    name: str
    most: int = _MOST_POINTS
    rows: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seen: int = 0
    stride: int = 1

    def add(self, row: int, value: float) -> None:
        """Take one number in."""
        if self.seen % self.stride == 0:
            self.rows.append(row)
            self.values.append(value)
            if len(self.rows) >= self.most:
                self.rows, self.values = self.rows[::2], self.values[::2]
                self.stride *= 2
        self.seen += 1

    def extend(self, rows: Sequence[int], values: Sequence[float]) -> None:
        """Take many numbers in."""
        first = -self.seen % self.stride
        self.rows.extend(rows[first :: self.stride])
        self.values.extend(values[first :: self.stride])
        self.seen += len(values)
        while len(self.rows) >= self.most:
            self.rows, self.values = self.rows[::2], self.values[::2]
            self.stride *= 2


@dataclass
class Words:
    """A column of words: the rows in which it changes. ``distinct`` stops growing when it is free text."""

    name: str
    rows: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    distinct: set[str] = field(default_factory=set)
    seen: int = 0

    def add(self, row: int, word: str) -> None:
        """Take one cell in."""
        self.seen += 1
        if len(self.distinct) < 1000:
            self.distinct.add(word[:200])
        if (not self.words or self.words[-1] != word) and len(self.words) < _MOST_CHANGES:
            self.rows.append(row)
            self.words.append(word[:200])


@dataclass
class Log:
    """One file as columns. Rows are counted in the order of the file; a column has values in some of them."""

    file: str
    format: str = ""
    columns: dict[str, Column] = field(default_factory=dict)
    words: dict[str, Words] = field(default_factory=dict)
    rows: int = 0
    lines: Column = field(default_factory=lambda: Column("line"))
    """Where rows stand in the file: its lines, from 1. Empty for what has no lines."""
    notes: list[str] = field(default_factory=list)
    """What the reader passed over or assumed."""
    refusal: str = ""
    """Why these columns are no curves, though they could be read."""

    def add(self, cells: Mapping[str, float | str], line: int = 0) -> None:
        """Take in one row: name -> number or text. A column such as ``mode`` or ``split`` whose word is train or val names the others.

        ``line`` is where it stands in the file, from 1; 0 where there are no lines.
        """
        if line:
            self.lines.add(self.rows, line)
        cells = _named(cells)
        for name, cell in cells.items():
            value = number(cell) if isinstance(cell, str) else float(cell)
            if value is not None:
                column = self.columns.get(name)
                if column is None:
                    if len(self.columns) >= MOST_COLUMNS:
                        continue
                    column = self.columns[name] = Column(name)
                column.add(self.rows, value)
            elif isinstance(cell, str) and cell.strip().lower() not in _MISSING and (name in self.words or len(self.words) < MOST_COLUMNS):
                self.words.setdefault(name, Words(name)).add(self.rows, cell.strip())
        self.rows += 1
        if self.rows % 4096 == 0:
            self._share()

    def add_block(self, names: Sequence[str], block: Sequence[Sequence[str]], lines: Sequence[int]) -> None:
        """Take in many rows of as many cells as there are names, with their lines; whole columns of numbers at a time where they are nothing else."""
        if any(name.strip().lower() in _NAMING for name in names):
            for line, cells in zip(lines, block, strict=True):
                self.add({name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}, line)
            return
        rows = range(self.rows, self.rows + len(block))
        self.lines.extend(rows, lines)
        self.rows += len(block)
        for name, cells in zip(names, zip(*block, strict=True), strict=True):
            column = self.columns.get(name)
            try:
                values = list(map(float, cells))
            except ValueError:
                self._add_cells(name, rows, cells)
                continue
            if column is None:
                if len(self.columns) >= MOST_COLUMNS:
                    continue
                column = self.columns[name] = Column(name)
            column.extend(rows, values)
        self._share()

    def _add_cells(self, name: str, rows: Sequence[int], cells: Sequence[str]) -> None:
        """A column in which some cells are empty or words."""
        numbers, at = [], []
        for row, cell in zip(rows, cells, strict=True):
            value = number(cell)
            if value is not None:
                numbers.append(value)
                at.append(row)
            elif cell.strip().lower() not in _MISSING and (name in self.words or len(self.words) < MOST_COLUMNS):
                self.words.setdefault(name, Words(name)).add(row, cell.strip())
        if numbers and (name in self.columns or len(self.columns) < MOST_COLUMNS):
            self.columns.setdefault(name, Column(name)).extend(at, numbers)

    def _share(self) -> None:
        """Give each column its share of the memory that one file may take."""
        most = max(min(_MOST_POINTS, _MOST_CELLS // max(len(self.columns), 1)), _LEAST_POINTS)
        for column in self.columns.values():
            column.most = most

    def thinned(self) -> int:
        """Of how many values one is kept in the longest column; 1 when none was dropped."""
        return max((column.stride for column in self.columns.values()), default=1)


def _named(cells: Mapping[str, float | str]) -> Mapping[str, float | str]:
    """Long tables as wide ones: ``split=val, loss=…`` is ``val loss``; ``metric=loss, value=…`` is ``loss``."""
    for key, word in cells.items():
        lower = key.strip().lower()
        if not isinstance(word, str):
            continue
        said = re.sub(r"_(epoch|iter|step)$", "", word.strip().lower())  # SlowFast: train_epoch, val_iter
        if lower in _SPLIT_COLUMNS and said in _SPLITS:
            split = _SPLITS[said]
            return {k if _settled(k) else f"{split} {k}": v for k, v in cells.items() if k != key}
        if lower in _KEY_COLUMNS and "value" in cells and number(word) is None:
            return {(word.strip()[:200] if k == "value" else k): v for k, v in cells.items() if k != key}
    return cells


def _settled(name: str) -> bool:
    """Whether a column says itself which split it is of, or is of none."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & {*_SPLITS, "epoch", "step", "iter", "iteration", "lr", "time", "model", "run", "fold", "seed"})
