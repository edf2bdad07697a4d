"""Finds the line of a dataset's class that decides which label a sample gets.

``__getitem__`` is read, not run. Where it only looks the label up (``self.labels[index]``), the line is the last one that sets what it
looks in; where it works the label out, its own line. Nothing is found where the class only keeps what it was given.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator

from trainlint.probes.datasets import Samples, wrapped
from trainlint.record.frames import Frames, Place

__all__ = ["label_source"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def label_source(samples: Samples, frames: Frames, path: str) -> Place | None:
    """The line for the label at ``path`` in a batch (``[1]``, ``['labels']``); None where no class of the user's tells."""
    if not samples.stacked and not path.startswith("['"):
        return None  # a collate function may arrange a batch in another way
    for one in wrapped(samples.dataset):
        code = getattr(getattr(type(one), "__getitem__", None), "__code__", None)
        if code is None or not frames.is_user(code.co_filename):
            continue
        owner = _class_around(code.co_filename, code.co_firstlineno)
        if owner is None:
            continue
        reader = next((f for f in owner.body if isinstance(f, _Function) and f.name == "__getitem__"), None)
        found = _line(owner, reader, path) if reader is not None else None
        if found is not None:
            return code.co_filename, found[0], found[1]
    return None


def _class_around(filename: str, line: int) -> ast.ClassDef | None:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    inside = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    return max(inside, key=lambda n: n.lineno, default=None)


def _line(owner: ast.ClassDef, reader: _Function, path: str) -> tuple[int, str] | None:
    """``(line, function)`` that decides on the label."""
    returned = next((n.value for n in reversed(list(ast.walk(reader))) if isinstance(n, ast.Return) and n.value is not None), None)
    label = _part(returned, path) if returned is not None else None
    for _ in range(4):  # through local variables
        if not isinstance(label, ast.Name):
            break
        set_to = [n.value for n in ast.walk(reader) if isinstance(n, ast.Assign) and _names(n.targets[-1]) == [label.id]]
        if not set_to:
            return None
        label = set_to[-1]
    if label is None:
        return None
    attribute = _looked_in(label)
    if attribute is None:
        return label.lineno, reader.name
    settings = sorted(_settings(owner, attribute), key=lambda setting: setting[0])
    if not settings:
        return None
    line, function, value = settings[-1]
    given = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}
    return None if isinstance(value, ast.Name) and value.id in given else (line, function.name)


def _part(returned: ast.expr, path: str) -> ast.expr | None:
    if isinstance(returned, ast.Tuple | ast.List):
        place = path.strip("[]")
        return returned.elts[int(place)] if place.isdigit() and int(place) < len(returned.elts) else None
    if isinstance(returned, ast.Dict):
        pairs = zip(returned.keys, returned.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and path.startswith((f"[{k.value!r}]", f".{k.value}"))), None)
    return None


def _looked_in(label: ast.expr) -> str | None:
    """Attribute of self that a label is looked up in, whatever type it is given then; None where it is worked out."""
    while isinstance(label, ast.Call) and (label.args or isinstance(label.func, ast.Attribute)):
        label = label.args[0] if label.args else label.func.value  # type: ignore[attr-defined]
    while isinstance(label, ast.Subscript):
        label = label.value
    mine = isinstance(label, ast.Attribute) and isinstance(label.value, ast.Name) and label.value.id == "self"
    return label.attr if mine and isinstance(label, ast.Attribute) else None


def _settings(owner: ast.ClassDef, attribute: str) -> Iterator[tuple[int, _Function, ast.expr]]:
    """Yield ``(line, function, value)`` of each statement that sets ``self.attribute``, or elements of it."""
    for function in (f for f in owner.body if isinstance(f, _Function)):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    pairs: list[tuple[ast.expr, ast.expr]] = [(target, node.value)]
                    if isinstance(target, ast.Tuple):
                        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(target.elts)
                        pairs = list(zip(target.elts, parts, strict=False))
                    yield from ((node.lineno, function, value) for place, value in pairs if _looked_in(place) == attribute)
            elif isinstance(node, ast.AugAssign) and _looked_in(node.target) == attribute:
                yield node.lineno, function, node.value


def _names(target: ast.expr) -> list[str]:
    return [n.id for n in (target.elts if isinstance(target, ast.Tuple) else [target]) if isinstance(n, ast.Name)]
