"""Where the data of two loaders parts: the line that splits what both are made of, read off the source."""

from __future__ import annotations

import ast

from trainlint.probes.source.ways import Step, way_of_loader
from trainlint.record.frames import Place
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["parted_at"]


def parted_at(recording: Recording, train: tuple[Loader, str], val: tuple[Loader, str]) -> Place | None:
    """The line that takes validation out of what training is made of too: the call that splits it, or the slice of it.

    None where the two ways do not come together, or come apart in another way, as where both read the same file.
    """
    mine, theirs = (way_of_loader(recording, entry, path) for entry, path in (train, val))
    common = 0
    while common < min(len(mine), len(theirs)) and _written(mine[-common - 1]) == _written(theirs[-common - 1]):
        common += 1
    if not common:
        return None
    one, other = mine[-common], theirs[-common]
    if _picked(one) is not None and _picked(other) is not None and _picked(one) != _picked(other):
        return other.place
    written = set(map(_written, mine))
    last = next((s for s in reversed(theirs[:-common]) if not isinstance(s.value, ast.Name | ast.Attribute)), None)
    sliced = last is not None and isinstance(last.value, ast.Subscript) and not isinstance(last.value.slice, ast.Constant)
    return last.place if last is not None and sliced and _written(last) not in written else None


def _written(step: Step) -> tuple[str, int, int]:
    return step.place[0], step.value.lineno, step.value.col_offset


def _picked(step: Step) -> object:
    """Which of the results of a call a step takes; None where it takes none."""
    value = step.value
    one = isinstance(value, ast.Subscript) and isinstance(value.value, ast.Call) and isinstance(value.slice, ast.Constant)
    return value.slice.value if one and isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant) else None
