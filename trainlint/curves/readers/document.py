"""One JSON document: Hugging Face's ``trainer_state.json``, a Keras history, lists by name, a list of rows, TensorBoard's JSON export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from trainlint.curves.errors import LogError
from trainlint.curves.log import Log
from trainlint.curves.readers.flat import flatten
from trainlint.curves.readers.jsonlines import parse_object
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "read"]

FORMAT = "json"

_LARGEST = 256 << 20
"""Bytes of a document; it has to be read whole."""
_DEEPEST = 5
#: An object, or a list of objects, of lists or of numbers; ``[145] loss: 0.3`` is none of them.
_BEGINS = re.compile(r"\{|\[\s*(?:[\[{\]]|-?\d[\d.eE+-]*\s*,)")


def matches(source: Source) -> bool:
    """Whether the file begins as one document, not as one object a line."""
    text = source.text().lstrip()
    lines = source.head_lines(3)
    if not _BEGINS.match(text):
        return False
    whole = parse_object(lines[0])
    return whole is None or (len(lines) == 1 and any(True for _ in _tables(whole)))


def read(source: Source, log: Log) -> None:
    """Add the rows of the longest table that is found in the document."""
    size = source.path.stat().st_size
    if size > _LARGEST:
        raise LogError(source.path, f"a JSON document of {size >> 20} MB is too large to be read whole; write one object a line instead")
    try:
        document = json.loads(source.path.read_text(source.encoding, errors="replace"))
    except ValueError as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LogError(source.path, f"it begins as JSON but is not whole{where}: {getattr(error, 'msg', error)}") from error
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        log.format = "hf-trainer-state"
    found = max(_tables(document), key=_size, default=[])
    for row in found:
        log.add(row)


def _size(rows: list[dict[str, float | str]]) -> int:
    return sum(len(row) for row in rows)


def _tables(value: Any, depth: int = 0) -> Iterator[list[dict[str, float | str]]]:
    """Every way in which a part of the document is a table."""
    if isinstance(value, list):
        rows = [row for row in map(_row, value) if row]
        if rows:
            yield rows
    if isinstance(value, dict) and depth < _DEEPEST:
        lists = dict(_number_lists(value))
        if lists:
            yield _transposed(lists)
        children = list(value.values())
        rows = [row for row in map(_row, children) if any(isinstance(c, float) for c in row.values())]
        if len(rows) >= 3 and all(str(key).lstrip("epochstr_- ").isdigit() for key in value):
            yield rows
        for child in children:
            yield from _tables(child, depth + 1)


def _row(item: Any) -> dict[str, float | str]:
    if isinstance(item, dict):
        return flatten(item)
    if isinstance(item, list) and len(item) == 3 and all(_is_number(x) for x in item):
        return {"Wall time": float(item[0]), "Step": float(item[1]), "Value": float(item[2])}
    return {"value": float(item)} if _is_number(item) else {}


def _number_lists(value: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """Lists of numbers below a mapping, by path; the name ``history`` adds nothing to a path."""
    for key, item in value.items():
        if isinstance(item, list) and len(item) > 1 and sum(map(_is_number, item)) > len(item) / 2:
            yield f"{prefix}{key}", item
        elif isinstance(item, dict) and depth < _DEEPEST:
            below = prefix if str(key).lower() in ("history", "metrics", "logs", "results") else f"{prefix}{key}/"
            yield from _number_lists(item, below, depth + 1)


def _transposed(lists: dict[str, list[Any]]) -> list[dict[str, float | str]]:
    """Lists side by side as rows. Shorter lists whose length divides the longest are spread over it: one value an epoch, many a step."""
    longest = max(map(len, lists.values()))
    columns = {}
    for name, items in lists.items():
        stride = longest // len(items) if longest % len(items) == 0 else 1
        spread: list[Any] = [None] * longest
        spread[stride - 1 :: stride] = items if stride > 1 else [*items, *[None] * (longest - len(items))]
        columns[name] = spread
    rows = zip_longest(*columns.values())
    return [{name: float(cell) for name, cell in zip(columns, row, strict=True) if _is_number(cell)} for row in rows]


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)
