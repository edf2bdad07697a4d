"""One array that a loop has stored again and again, so that all that it stored holds what was written last.

An environment that hands out its own buffer does so: what lies in the memory of past steps is that buffer, not its past values. Looked for only where
all samples of each batch are equal, and differ from batch to batch.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from trainlint.measurements import BatchView, Leaf, SharedBuffer
from trainlint.probes.source.scopes import Function
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["shared_buffer"]

#: Samples of a batch, and batches, that must show it; members of a container that is one stored step, and of a list that is looked through.
_SAMPLES, _BATCHES, _STEP, _LARGEST = 8, 2, 16, 1_000_000


def shared_buffer(views: Sequence[BatchView], frames: Frames) -> SharedBuffer | None:
    """The array that stands for all samples; None where samples of a batch differ, or no array that a class of the user's returns is stored many times."""
    leaves = [_repeated(view) for view in views]
    known = [leaf for leaf in leaves if leaf is not None]
    if len(known) < max(_BATCHES, len(leaves)) or len({(leaf.mean, leaf.std) for leaf in known}) < _BATCHES:
        return None
    size = int(np.prod(known[0].shape[1:]))
    stored, held = _most_stored(size, known[0].shape[0])
    if held is None or stored < known[0].shape[0]:
        return None
    returned = _handed_out(held, frames)
    if returned is None:  # a list elsewhere in the process may repeat any array
        return None
    place, attribute = returned
    return SharedBuffer(
        path=known[0].path,
        samples=known[0].shape[0],
        batches=len(known),
        stored=stored,
        attribute=attribute,
        array=isinstance(held, np.ndarray),
        where=frames.location(place),
    )


def _repeated(view: BatchView) -> Leaf | None:
    """An input of numbers whose samples are all equal."""
    inputs = [leaf for leaf in view.inputs if "float" in leaf.dtype and len(leaf.shape) > 1 and leaf.shape[0] >= _SAMPLES]
    return next((leaf for leaf in inputs if leaf.repeated_rows == leaf.shape[0] - 1), None)


def _most_stored(size: int, least: int) -> tuple[int, Any]:
    """How often the array of this size that is stored most is stored in one list or queue of at least so many members, and that array."""
    best: tuple[int, Any] = (0, None)
    for item in gc.get_objects():
        kind = type(item)
        if (kind is not list and kind is not deque) or not least <= len(item) <= _LARGEST:
            continue
        arrays = {id(one): one for member in item for one in _held(member) if type(one) in (np.ndarray, Tensor) and _size(one) == size}
        if not arrays:
            continue
        counts = Counter(number for member in item for number in {id(one) for one in _held(member)} if number in arrays)
        number, times = counts.most_common(1)[0]
        best = max(best, (times, arrays[number]), key=lambda found: found[0])
    return best


def _held(member: Any) -> Iterable[Any]:
    """A member of a list, or what it holds where it is one stored step."""
    kind = type(member)
    if issubclass(kind, tuple | list):
        return member if len(member) <= _STEP else ()
    if kind is dict:
        return member.values() if len(member) <= _STEP else ()
    return member.__dict__.values() if hasattr(kind, "__dataclass_fields__") and hasattr(member, "__dict__") else (member,)


def _size(array: Any) -> int:
    return int(array.size) if isinstance(array, np.ndarray) else int(array.numel())


def _handed_out(array: Any, frames: Frames) -> tuple[Place, str] | None:
    """The line of the user's class that returns the array, and the attribute that holds it."""
    for item in gc.get_objects():
        kind = type(item)
        filename = getattr(sys.modules.get(kind.__module__), "__file__", None)  # isinstance() would wake lazy proxies
        if filename is None or issubclass(kind, type) or not frames.is_user(filename):
            continue
        for name, value in list(getattr(item, "__dict__", {}).items()):
            if value is array and (line := _returned_at(kind, name)) is not None:
                return line, name
    return None


def _returned_at(kind: type, attribute: str) -> Place | None:
    """The line of a class that returns an attribute of its own, alone or with others."""
    try:
        filename = inspect.getsourcefile(kind)
    except TypeError:
        return None
    tree = source_tree(filename) if filename is not None else None
    owners = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == kind.__name__] if tree is not None else []
    for function in (f for owner in owners for f in owner.body if isinstance(f, Function)):
        for node in _returns(function):
            parts = node.elts if isinstance(node, ast.Tuple) else [node]
            if any(isinstance(p, ast.Attribute) and p.attr == attribute and isinstance(p.value, ast.Name) for p in parts):
                return filename or "", node.lineno, function.name
    return None


def _returns(function: Function) -> Iterator[ast.expr]:
    yield from (n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None)
