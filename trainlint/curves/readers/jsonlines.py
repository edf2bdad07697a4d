"""JSON lines, one object a line: mmdetection, detectron2, MAE-like ``log.txt``, Python dicts as Hugging Face's Trainer prints them."""

from __future__ import annotations

import json
import re
from typing import Any

from trainlint.curves.log import Log
from trainlint.curves.readers.flat import SUMMARY, flatten
from trainlint.curves.readers.source import Source

__all__ = ["FORMAT", "matches", "parse_object", "read"]

FORMAT = "json-lines"

_PYTHON = re.compile(r"(?<=[{,\s])'((?:[^'\\\"]|\\.)*)'(?=\s*[:,}\]])|(?<=[:\s])'((?:[^'\\\"]|\\.)*)'(?=\s*[,}\]])")
_BARE = re.compile(r"(?<=[:\s\[,])(-?)(nan|inf|None|True|False)(?=\s*[,}\]])")
_JSON_NAMES = {"nan": "NaN", "inf": "Infinity", "None": "null", "True": "true", "False": "false"}


def matches(source: Source) -> bool:
    """Whether most of the first lines are objects."""
    lines = source.head_lines(20)
    found = sum(parse_object(line) is not None for line in lines)
    return found >= 1 and found >= 0.7 * len(lines)


def read(source: Source, log: Log) -> None:
    """Add one row a line; lines that are no object are counted and passed over."""
    passed_over = 0
    lines = source.lines()
    for line in lines:
        row = parse_object(line)
        if row is None:
            passed_over += 1
            continue
        if SUMMARY in row:
            continue
        cells = flatten(row)
        if any(isinstance(cell, float) for cell in cells.values()):
            log.add(cells, lines.number)
    if passed_over:
        log.notes.append(f"{passed_over} lines that are no JSON objects were passed over")


def parse_object(line: str) -> dict[str, Any] | None:
    """The object that a line holds, in JSON or as Python prints a dict of numbers and words; None otherwise."""
    text = line.strip().rstrip(",")
    if not (text.startswith("{") and text.endswith("}")):
        return None
    for form in (text, _as_json(text)):
        try:
            value = json.loads(form)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def _as_json(text: str) -> str:
    quoted = _PYTHON.sub(lambda m: json.dumps(m[1] if m[1] is not None else m[2]), text)
    return _BARE.sub(lambda m: m[1] + _JSON_NAMES[m[2]], quoted)
