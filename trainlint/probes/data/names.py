"""What a reader calls the tensors of a batch and the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from torch import Tensor

from trainlint.probes.data.datasets import wrapped

__all__ = ["column_names", "spoken"]

#: Attributes of a dataset that name its columns; others may as well name its classes.
_NAMING = re.compile(r"feature|column|field|header", re.IGNORECASE)


def spoken(paths: Sequence[str], word: str) -> dict[str, str]:
    """Each path as it is shown: one that is a position alone (``[0]``) by what it is to the model, ``input`` or ``target``; keys as they are."""
    alone = len(paths) == 1
    return {path: path if re.search(r"[^\W\d]", path) else word if alone else f"{word} {path}".strip() for path in paths}


def column_names(dataset: Any, columns: int, path: str) -> tuple[str, ...]:
    """The columns by the names that the dataset holds for so many, in a data frame or a list; else by their number."""
    for owner in wrapped(dataset):
        for names in _held(owner):
            if len(names) == columns:
                return names
    return tuple(f"{path}, column {i}" for i in range(columns)) if columns > 1 else (path,)


def _held(owner: Any) -> Iterator[tuple[str, ...]]:
    """Different words that a dataset holds as names of columns."""
    for key, value in list(getattr(owner, "__dict__", {}).items()):
        named = getattr(value, "columns", value if _NAMING.search(str(key)) else None)
        if named is None or isinstance(named, str | bytes | Tensor | np.ndarray):
            continue
        with suppress(Exception):
            names = tuple(named) if len(named) <= 1000 else ()
            if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
                yield names
