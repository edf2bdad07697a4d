"""Graphs that outlive their step: a mark in the graph of each loss and model output, and who still holds it some steps later.

A graph is kept alive by C++, not by Python, so the mark is an object of ours in the metadata of its last node; it dies with that node.
"""

from __future__ import annotations

import gc
import linecache
import re
import sys
import weakref
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor
from torch.nn import Module

from trainlint.record.frames import Frames, Place

__all__ = ["Kept", "Marks"]

_KEY = "trainlint"
#: Graphs of earlier steps that live on, from which they are a history and not a value kept for printing.
_HISTORY = 3
#: Most collections of garbage, which cost a tenth of a second each; graphs alive up to which each one more is counted after a collection.
_COLLECTIONS, _EACH = 64, 8
#: Marks for each place; nodes that are visited when a holder is looked for; entries of a container and attributes looked at.
_MOST, _NODES, _ENTRIES = 64, 5000, 32


class _Mark:
    __slots__ = ("__weakref__",)


@dataclass
class Kept:
    """Graphs of one place that lived on."""

    kind: str
    """``loss`` or ``outputs``."""
    place: Place | None
    """Where backward() or the model was called."""
    alive: int = 0
    """Most graphs of earlier steps that were alive at once."""
    made: int = 0
    name: str = ""
    """Variable that holds them, as the user's code writes it."""
    listed: bool = False
    """It is a container; else one tensor with a growing graph."""
    line: Place | None = None
    """Line that adds to it."""
    collected: int = 0
    """Graphs that were alive after the last collection of garbage."""


@dataclass
class Marks:
    """The marks of one recording."""

    frames: Frames
    kept: dict[tuple[str, Place | None], Kept] = field(default_factory=dict)
    collections: int = 0
    """Collections of garbage made."""
    _marks: dict[tuple[str, Place | None], deque[tuple[Hashable, weakref.ref[_Mark]]]] = field(default_factory=dict)

    def add(self, kind: str, tensor: Tensor, place: Place | None, turn: Hashable) -> None:
        """Mark the graph of a tensor, and count those made at the same place before that are still alive.

        ``turn`` names the turn of the loop: graphs of one turn, as of a decoder that is called word by word, count once.
        """
        with suppress(Exception):  # graphs of subclasses and transforms need not take marks
            self._add(kind, tensor, place, turn)

    def _add(self, kind: str, tensor: Tensor, place: Place | None, turn: Hashable) -> None:
        node: Any = tensor.grad_fn
        if node is None:
            return
        known = self._marks.setdefault((kind, place), deque(maxlen=_MOST))
        kept = self.kept.setdefault((kind, place), Kept(kind, place))
        alive = _turns_alive(known, turn)
        kept.made += not known or known[-1][0] != turn
        if alive > max(kept.alive, 1) and (alive <= _EACH or alive >= 1.5 * kept.collected):
            if self.collections >= _COLLECTIONS:
                alive = kept.alive
            else:  # circles that wait for the garbage collector are no history
                self.collections += 1
                gc.collect()
                alive = kept.collected = _turns_alive(known, turn)
        if alive > kept.alive:
            kept.alive = alive
            if alive >= _HISTORY and not kept.name:
                self._find_holder(kept, {id(m) for _, mark in known if (m := mark()) is not None})
        mark = _Mark()
        node.metadata[_KEY] = mark
        known.append((turn, weakref.ref(mark)))

    @staticmethod
    def forget(tensors: Sequence[Tensor]) -> None:
        """Take marks off tensors that another model is called with: the recorder itself keeps those for a while."""
        for tensor in tensors:
            node: Any = tensor.grad_fn
            if node is not None:
                with suppress(Exception):
                    node.metadata.pop(_KEY, None)

    def _find_holder(self, kept: Kept, marks: set[int]) -> None:
        best = 0
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self.frames.is_user(frame.f_code.co_filename):
                for name, value in _named(frame, self.frames):
                    listed = not isinstance(value, Tensor)
                    reached = sum(_reaches(t, marks) for t in ([value] if isinstance(value, Tensor) else value))
                    if reached > max(best, 1):
                        best, kept.name, kept.listed = reached, name, listed
                        kept.line = _adding(frame, name, kept.place) or _adding(frame, f"self.{name.rpartition('.')[2]}", kept.place)
            frame = frame.f_back


def _turns_alive(marks: Iterable[tuple[Hashable, weakref.ref[_Mark]]], now: Hashable) -> int:
    """Earlier turns of which a graph is alive."""
    return len({turn for turn, mark in marks if turn != now and mark() is not None})


def _named(frame: FrameType, frames: Frames) -> Iterator[tuple[str, Any]]:
    """Yield a frame's variables, and attributes of the user's objects, that hold tensors with a graph, singly or in containers."""
    for name, value in list(frame.f_locals.items()):
        held = [(name, value)]
        if name == "self" or _is_of_user(value, frames):
            held += [(f"{name}.{key}", entry) for key, entry in list(getattr(value, "__dict__", {}).items())]
        for label, entry in held:
            if isinstance(entry, dict):
                for key, part in list(entry.items())[:_ENTRIES]:
                    inside = list(vars(part).items()) if _is_of_user(part, frames) else []
                    yield from _holding(f"{label}[{key!r}]", part)
                    for attribute, kept in inside:
                        yield from _holding(f"{label}[{key!r}].{attribute}", kept)
            yield from _holding(label, entry)


def _is_of_user(value: Any, frames: Frames) -> bool:
    """Whether this is an object of the user's own class: a meter, a history. Models, and what else holds modules, are none."""
    if isinstance(value, type | Tensor | Module) or not hasattr(value, "__dict__"):
        return False
    module = sys.modules.get(type(value).__module__)
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and frames.is_user(file)


def _holding(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            yield name, value
    elif isinstance(value, tuple):  # the two states of an LSTM
        yield from ((name, t) for t in value[:_ENTRIES] if isinstance(t, Tensor) and t.grad_fn is not None)
    elif isinstance(value, list | deque):
        tensors = [t for t in list(value)[-_ENTRIES:] if isinstance(t, Tensor) and t.grad_fn is not None]
        if tensors:
            yield name, tensors


def _reaches(tensor: Tensor, marks: set[int]) -> int:
    """Number of marks in a tensor's graph."""
    found: set[int] = set()
    seen: set[Any] = set()
    queue: list[Any] = [tensor.grad_fn]
    while queue and len(seen) < _NODES:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "metadata") and (mark := node.metadata.get(_KEY)) is not None and id(mark) in marks:
            found.add(id(mark))
        queue.extend(parent for parent, _ in node.next_functions)
    return len(found)


def _adding(frame: FrameType, name: str, near: Place | None) -> Place | None:
    """The line of the frame's file, nearest to a place, that adds to the variable."""
    filename = frame.f_code.co_filename
    target = re.escape(name)
    pattern = re.compile(rf"(^|[;:]\s*|^\s*){target}\s*(\+=|=\s*{target}\s*\+|=.*\+\s*{target}\b|\.append\(|\.extend\(|\.appendleft\()")
    lines = [n for n, text in enumerate(linecache.getlines(filename), 1) if pattern.search(text)]
    around = near[1] if near is not None and near[0] == filename else frame.f_lineno
    best = min(lines, key=lambda n: abs(n - around), default=None)
    return (filename, best, frame.f_code.co_name) if best is not None else None
