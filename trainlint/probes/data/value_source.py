"""Finds the line of a dataset's class that decides on a sample's input or label.

``__getitem__`` is read, not run. Where it only looks a value up (``self.labels[index]``), the line is the last one that sets what it
looks in; where it works the value out, the line that does so. Nothing is found where the class only keeps what it was given.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator

from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.source.expressions import bare, called, is_mine, is_name, looked_in, part_of
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = [
    "argument_named",
    "attribute_set_at",
    "calls_in",
    "forced_gradient",
    "rate_written",
    "reordered_alone",
    "reordering",
    "value_source",
]

#: Calls that make a tensor, which may be told to require a gradient.
_NEW_TENSORS = frozenset({"FloatTensor", "Tensor", "Variable", "as_tensor", "tensor"})
#: Calls that put elements in another order: in place, or in what they return.
_IN_PLACE = frozenset({"reverse", "shuffle", "sort"})
_ANEW = frozenset({"argsort", "permutation", "permuted", "randperm", "reversed", "sample", "sort_values", "sorted"})
#: What is sorted as a rule and says nothing of a sample's place: listings of files, and names of classes.
_SORTED = frozenset({"glob", "iglob", "iterdir", "keys", "listdir", "rglob", "scandir", "set", "unique", "walk"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def value_source(samples: Samples, frames: Frames, path: str) -> Place | None:
    """The line for the value at ``path`` in a batch (``[1]``, ``['labels']``); None where no class of the user's tells."""
    if not samples.stacked and not path.startswith("['"):
        return None  # a collate function may arrange a batch in another way
    for filename, owner, reader in _read_by(samples, frames):
        found = _line(owner, reader, path)
        if found is not None:
            return filename, *found
    return None


def reordered_alone(samples: Samples, frames: Frames) -> Place | None:
    """The line that puts in another order just one of the things that ``__getitem__`` looks up by the same index: only inputs, or only labels."""
    for filename, owner, reader in _read_by(samples, frames):
        read = _read(reader)
        orders = [one for one in _orders(owner) if one[2] in read]
        if len(read) > 1 and len({attribute for _, _, attribute in orders}) == 1:
            line, function, _ = max(orders)
            return filename, line, function
    return None


def reordering(filename: str, first: int) -> int | None:
    """The first line, of the function that begins at line ``first``, that puts elements in another order."""
    return calls_in(filename, first, _IN_PLACE | _ANEW)


def calls_in(filename: str, first: int, names: frozenset[str]) -> int | None:
    """The first line, of the function that begins at line ``first``, with a call of one of these names."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    inside = [f for f in ast.walk(tree) if isinstance(f, _Function) and first in (f.lineno, *(d.lineno for d in f.decorator_list))]
    calls = [n for f in inside for n in ast.walk(f) if isinstance(n, ast.Call) and called(n) in names]
    return min((n.lineno for n in calls), default=None)


def rate_written(filename: str) -> int | None:
    """The first line that sets the item ``lr`` of a group of parameters."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    written = [
        t for n in ast.walk(tree) for t in (n.targets if isinstance(n, ast.Assign) else [n.target] if isinstance(n, ast.AugAssign) else [])
    ]
    return min(
        (t.lineno for t in written if isinstance(t, ast.Subscript) and isinstance(t.slice, ast.Constant) and t.slice.value == "lr"),
        default=None,
    )


def argument_named(filename: str, word: str) -> int | None:
    """The first line of a call with a keyword argument that has a word in its name."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    given = [k.value.lineno for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords if k.arg and word in k.arg]
    return min(given, default=None)


def forced_gradient(filename: str, line: int) -> int | None:
    """The line that makes a tensor with ``requires_grad``, or sets it on the variable whose ``backward()`` is called at ``line``."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    losses = {
        n.func.value.id for n in calls if n.lineno == line and isinstance(n.func, ast.Attribute) and isinstance(n.func.value, ast.Name)
    }
    made = [
        n.lineno for n in calls if called(n) in _NEW_TENSORS and any(k.arg == "requires_grad" and _is_true(k.value) for k in n.keywords)
    ]
    asked = [
        n.lineno
        for n in calls
        if called(n) == "requires_grad_" and isinstance(n.func, ast.Attribute) and any(is_name(n.func.value, x) for x in losses)
    ]
    set_on = [
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign)
        and any(isinstance(t, ast.Attribute) and t.attr == "requires_grad" and any(is_name(t.value, x) for x in losses) for t in n.targets)
    ]
    found = [*made, *asked, *set_on]
    return max((at for at in found if at <= line), default=min(found, default=None))


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _read_by(samples: Samples, frames: Frames) -> Iterator[tuple[str, ast.ClassDef, _Function]]:
    """Yield file, class and ``__getitem__`` of each dataset of the user's that samples come through."""
    for one in wrapped(samples.dataset):
        code = getattr(getattr(type(one), "__getitem__", None), "__code__", None)
        if code is None or not frames.is_user(code.co_filename):
            continue
        owner = _class_around(code.co_filename, code.co_firstlineno)
        reader = next((f for f in owner.body if isinstance(f, _Function) and f.name == "__getitem__"), None) if owner is not None else None
        if owner is not None and reader is not None:
            yield code.co_filename, owner, reader


def _orders(owner: ast.ClassDef) -> Iterator[tuple[int, str, str]]:
    """Yield ``(line, function, attribute)`` of each statement that puts the elements of ``self.attribute`` in another order."""
    for function in (f for f in owner.body if isinstance(f, _Function) and f.name != "__getitem__"):
        kept = list(_kept(function))
        for node in ast.walk(function):
            moved = _moved_in_place(node)
            if moved is not None:
                attribute = looked_in(moved)
                mine = {attribute} if attribute else {a for a, value in kept if isinstance(moved, ast.Name) and _holds(value, moved.id)}
                if len(mine) == 1:
                    yield moved.lineno, function.name, mine.pop()
        for attribute, value in kept:
            if any(_reorders(v) for v in (value, *(v for name, v in _locals(function) if _holds(value, name)))):
                yield value.lineno, function.name, attribute


def _read(reader: _Function) -> set[str]:
    """Attributes of self that values are looked up in, but for those that only give an index."""
    slices = [n.slice for n in ast.walk(reader) if isinstance(n, ast.Subscript)]
    indices = {n.id for one in slices for n in ast.walk(one) if isinstance(n, ast.Name)}
    made = [n.value for n in ast.walk(reader) if isinstance(n, ast.Assign) and any(is_name(t, i) for t in n.targets for i in indices)]
    passed_over = {id(n) for one in (*slices, *made) for n in ast.walk(one)}
    return {a for n in ast.walk(reader) if isinstance(n, ast.Subscript) and id(n) not in passed_over and (a := looked_in(n))}


def _moved_in_place(node: ast.AST) -> ast.expr | None:
    """What a call puts in another order: ``x`` of ``random.shuffle(x)`` and ``x.sort()``."""
    if not isinstance(node, ast.Call) or called(node) not in _IN_PLACE:
        return None
    if node.args:
        return node.args[0]
    return node.func.value if isinstance(node.func, ast.Attribute) else None


def _kept(function: _Function) -> Iterator[tuple[str, ast.expr]]:
    """Yield ``(attribute, value)`` of each assignment to an attribute of self."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from ((a, node.value) for part in ast.walk(target) if isinstance(part, ast.expr) and (a := _own(part)))


def _locals(function: _Function) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def _own(value: ast.expr) -> str | None:
    return value.attr if isinstance(value, ast.Attribute) and is_mine(value) else None


def _holds(value: ast.expr, name: str) -> bool:
    return any(is_name(n, name) for n in ast.walk(value) if isinstance(n, ast.expr))


def _reorders(value: ast.expr) -> bool:
    """Whether a value is worked out by a call that changes the order, but for what is sorted as a rule."""
    names = {called(n) for n in ast.walk(value) if isinstance(n, ast.Call)}
    return bool(names & _ANEW) and not names & _SORTED


def _class_around(filename: str, line: int) -> ast.ClassDef | None:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return None
    inside = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    return max(inside, key=lambda n: n.lineno, default=None)


def _line(owner: ast.ClassDef, reader: _Function, path: str) -> tuple[int, str] | None:
    """``(line, function)`` that decides on the value."""
    returned = [n.value for n in ast.walk(reader) if isinstance(n, ast.Return) and n.value is not None]
    value = part_of(returned[-1], path) if returned else None
    for _ in range(8):  # through conversions and local variables
        value = bare(value) if value is not None else None
        if not isinstance(value, ast.Name):
            break
        set_to = [n.value for n in ast.walk(reader) if isinstance(n, ast.Assign) and is_name(n.targets[-1], value.id)]
        value = max(set_to, key=lambda n: n.lineno, default=None)
    if value is None or isinstance(value, ast.Constant):
        return None
    attribute = looked_in(value)
    if attribute is None:
        return value.lineno, reader.name
    setting = max(_settings(owner, attribute), key=lambda one: one[0], default=None)
    if setting is None:
        return None
    line, function, kept = setting
    given = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}
    return None if isinstance(kept, ast.Name) and kept.id in given else (line, function.name)


def attribute_set_at(holder: object, attribute: str, frames: Frames) -> Place | None:
    """The first line of an object's own class that sets one of its attributes; None where the class is not the user's, or sets it nowhere."""
    kind = type(holder)
    filename = getattr(sys.modules.get(kind.__module__), "__file__", None)
    tree = source_tree(filename) if filename is not None and frames.is_user(filename) else None
    owners = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == kind.__name__] if tree is not None else []
    lines = [(line, function.name) for line, function, _ in _settings(owners[0], attribute)] if len(owners) == 1 else []
    return (filename, *min(lines)) if filename is not None and lines else None


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
                    yield from ((node.lineno, function, value) for place, value in pairs if looked_in(place) == attribute)
            elif isinstance(node, ast.AugAssign) and looked_in(node.target) == attribute:
                yield node.lineno, function, node.value
