"""Nested JSON values as one row of names and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trainlint.curves.columns import meaning

__all__ = ["SUMMARY", "flatten"]

SUMMARY = "train_runtime"
"""A key of the line with which Hugging Face's trainer sums a run up; what else stands there is of no step."""
_DEEPEST = 6
_OF = re.compile(r"\d+ ?/ ?\d+")
"""A count with its end: ``"epoch": "3/50"``."""


def flatten(value: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, float | str]:
    """Numbers and short texts of a nested mapping, with the path as name (``val/loss``); lists of one number count as it."""
    return dict(_leaves(value, prefix, depth))


def _leaves(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, float | str]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, list) and len(item) == 1:
            item = item[0]
        if isinstance(item, bool) or item is None:
            continue
        if isinstance(item, int | float):
            yield name, _float(item)
        elif isinstance(item, str):
            yield name, item.split("/")[0] if _OF.fullmatch(item) and meaning(name).kind == "axis" else item
        elif isinstance(item, dict) and depth < _DEEPEST:
            yield from _leaves(item, f"{name}/", depth + 1)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
