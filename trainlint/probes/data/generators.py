"""Random generators that a dataset holds, or that the module of its class does: found, read and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Generator", "generators_kept", "held_generators", "objects_within"]

Generator = np.random.Generator | np.random.RandomState | random.Random | torch.Generator

#: Objects that are looked at, how deep, and how many entries of one container.
_MOST, _DEPTH, _ENTRIES = 2000, 6, 64
_PLAIN = (str, bytes, int, float, bool, complex, type(None), Tensor, np.ndarray, np.generic, type)


def objects_within(root: Any) -> Iterator[Any]:
    """Yield an object and those that it holds in attributes and containers, nearest first."""
    queue: list[tuple[Any, int]] = [(root, 0)]
    seen: set[int] = set()
    while queue and len(seen) < _MOST:
        current, depth = queue.pop(0)
        if isinstance(current, _PLAIN) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if depth < _DEPTH and not isinstance(current, Generator):
            queue += [(held, depth + 1) for held in _held(current)]


def _held(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())[:_ENTRIES] if type(value).__module__ in ("builtins", "collections") else []
    if isinstance(value, list | tuple):
        return list(value[:_ENTRIES])
    if isinstance(value, ModuleType):
        return []
    attributes = getattr(value, "__dict__", None)
    cells = [c.cell_contents for c in getattr(value, "__closure__", None) or () if _is_filled(c)]
    bound = [getattr(value, name, None) for name in ("__self__", "func", "args")] if callable(value) else []
    return [*(attributes.values() if isinstance(attributes, dict) else ()), *cells, *bound, *_globals_of(value)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _globals_of(value: Any) -> list[Generator]:
    """Generators among the global names that an object's own methods use."""
    found: list[Generator] = []
    functions = [value, *(getattr(type(value), name, None) for name in ("__getitem__", "__getitems__", "__call__", "__iter__"))]
    for function in functions:
        code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
        if code is not None:
            found += [held for name in code.co_names if isinstance(held := names.get(name), Generator)]
    return found


def held_generators(*roots: Any) -> list[Generator]:
    """Generators that some objects draw from, other than the global ones."""
    found = {id(held): held for root in roots for held in objects_within(root) if isinstance(held, Generator)}
    return list(found.values())


def state_of(generator: Generator) -> Any:
    """What the generator will draw, in a form that can be compared and put back."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def restore(generator: Generator, state: Any) -> None:
    """Put a generator back to a state of :func:`state_of`."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


@contextmanager
def generators_kept(*roots: Any) -> Iterator[None]:
    """Leave the generators that some objects hold as they were found."""
    kept = [(held, state_of(held)) for held in held_generators(*roots)]
    try:
        yield
    finally:
        for held, state in kept:
            restore(held, state)
