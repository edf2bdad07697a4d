"""Tables with a delimiter: CSV and TSV of every maker, with or without a header, and columns of bare numbers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from trainlint.curves.log import Log, number
from trainlint.curves.readers.dialects import dialect, is_table_of_runs
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "read"]

FORMAT = "csv"

_DELIMITERS = (",", "\t", ";", "|")
_SAMPLE = 60
_BLOCK = 2048
"""Rows that are taken in at a time."""
_SHORT_OF = 0.7
"""Share of the sampled lines that must look like rows."""
_HEADLESS = re.compile(r"[-+.\d]")


@dataclass(frozen=True)
class _Layout:
    """How the cells of a table are found. ``names`` is empty without a header; ``blank`` means runs of blanks between cells."""

    delimiter: str
    names: tuple[str, ...]
    width: int


def matches(source: Source) -> bool:
    """Whether most lines have as many cells as the header, or as one another, and most filled cells are numbers."""
    return _layout(source) is not None


def read(source: Source, log: Log) -> None:
    """Add one row a line."""
    layout = _layout(source)
    if layout is None:
        return
    names = layout.names or tuple(f"column {i}" for i in range(1, layout.width + 1))
    log.format = (
        dialect(names, layout.delimiter)
        if layout.names
        else "bare-numbers"
        if layout.width == 1
        else f"{_NAMED[layout.delimiter]}-without-header"
    )
    begun, odd = not layout.names, 0
    block: list[list[str]] = []
    at: list[int] = []
    lines = source.lines()
    for cells in _cells(lines, layout.delimiter):
        if not begun:
            begun = _cleaned(cells) == layout.names
            continue
        if len(cells) != layout.width:
            if any(c.strip() for c in cells[layout.width :]):
                odd += 1
                continue
            cells = [*cells, *[""] * layout.width][: layout.width]
        if layout.names and cells[0].strip() == names[0] and _cleaned(cells) == names:
            continue  # the header again, written by a run that was resumed
        block.append(cells)
        at.append(lines.number)
        if len(block) >= _BLOCK:
            log.add_block(names, block, at)
            block, at = [], []
    if block:
        log.add_block(names, block, at)
    if odd:
        log.notes.append(f"{odd} lines with more cells than the header were passed over")
    if not layout.names:
        log.notes.append(f"there is no header; columns are called column 1 to column {layout.width}")
    if is_table_of_runs(log):
        log.refusal = "its rows are runs, not steps of one run: it is a table of final values. Export the history of a run instead"


_NAMED = {",": "csv", "\t": "tsv", ";": "csv", "|": "table", " ": "table"}


def _layout(source: Source) -> _Layout | None:
    lines = source.head_lines(_SAMPLE)
    for delimiter in (*_DELIMITERS, " "):
        if delimiter == " " or any(delimiter in line for line in lines[:3]):
            found = _try(lines, delimiter)
            if found is not None:
                return found
    return None


def _try(lines: list[str], delimiter: str) -> _Layout | None:
    rows = list(_cells(iter(lines), delimiter))
    if not rows or len(rows) < (1 if delimiter != " " else 2):
        return None
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    alike = [row for row in rows if len(row) == width]
    if len(alike) < _SHORT_OF * len(rows) or (width < 2 and delimiter != " "):
        return None
    header = next((row for row in rows if len(row) >= width), [])
    named = bool(header) and all(number(cell) is None for cell in header) and any(c.strip() for c in header)
    body = alike[1:] if named and alike[0] == header else alike
    if named and len(header) > width:
        width = len(header)
    filled = [cell for row in body for cell in row if cell.strip()]
    numbers = sum(number(cell) is not None for cell in filled)
    if body and numbers < (0.35 if named and delimiter != " " else 0.75) * len(filled):
        return None
    if not named and (not filled or not all(_HEADLESS.match(line.strip()) for line in lines[1:])):
        return None
    return _Layout(delimiter, _cleaned(header) if named else (), width)


def _cells(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    if delimiter in (" ", "|"):
        for line in lines:
            text = line.strip()
            if delimiter == "|":
                text = text.strip("|")
                if not text.strip("-+:| "):
                    continue  # the rule under a Markdown header
                yield text.split("|")
            else:
                yield text.lstrip("#").split()
        return
    reader = csv.reader((line.lstrip("# ") if line.startswith("#") else line for line in lines), delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue  # a cell too long or a stray NUL: this row is lost, the next is not


def _cleaned(header: list[str]) -> tuple[str, ...]:
    """Names without blanks around them; nameless columns are numbered, repeated names told apart."""
    names: list[str] = []
    for i, cell in enumerate(header, 1):
        name = cell.strip().strip("\"'") or ("index" if i == 1 else f"column {i}")
        names.append(name if name not in names else f"{name} ({i})")
    return tuple(names)
