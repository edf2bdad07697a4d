"""How many epochs a script means to run: the length of the ``range`` loop around its pass over the loader, read from its own source."""

from __future__ import annotations

import ast
import linecache
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType
from typing import Any

from trainlint.record.frames import Frames

__all__ = ["Turn", "planned_epochs", "range_turns", "source_tree"]

_WRAPPERS = frozenset({"tqdm", "trange", "track", "progress_bar", "enumerate", "list", "iter"})


def planned_epochs(frames: Frames) -> int | None:
    """The length of the nearest enclosing ``for ... in range(...)`` of the current stack of user code; None when there is none.

    The range's arguments are only looked up (names, attributes, items, numbers, arithmetic), never called. Where a framework's trainer
    runs the loop, the number is its own.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frames.is_user(frame.f_code.co_filename):
            for loop in reversed(_loops_around(frame.f_code.co_filename, frame.f_lineno)):
                length = _length(loop.iter, {**frame.f_globals, **frame.f_locals})
                if length is not None:
                    return length
        elif (number := _of_trainer(frame)) is not None:
            return number
        frame = frame.f_back
    return None


@dataclass(frozen=True)
class Turn:
    """Where a running ``for ... in range(...)`` loop of the user's stands."""

    file: str
    line: int
    length: int
    value: int
    """Of the loop's variable."""


def range_turns(frames: Frames) -> tuple[Turn, ...]:
    """The ``range`` loops that the current stack of user code runs in, the nearest first."""
    frame: FrameType | None = sys._getframe(1)
    turns = []
    while frame is not None:
        file = frame.f_code.co_filename
        if frames.is_user(file):
            for loop in reversed(_loops_around(file, frame.f_lineno)):
                length = _length(loop.iter, {**frame.f_globals, **frame.f_locals})
                value = frame.f_locals.get(loop.target.id) if isinstance(loop.target, ast.Name) else None
                if length is not None and type(value) is int:
                    turns.append(Turn(file, loop.lineno, length, value))
        frame = frame.f_back
    return tuple(turns)


def _of_trainer(frame: FrameType) -> int | None:
    """Epochs of the Lightning or Hugging Face trainer, or ignite's engine, whose loop this frame is."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    number: object = None
    if package in ("lightning", "pytorch_lightning"):
        number = getattr(frame.f_locals.get("self"), "max_epochs", None)
    elif package == "transformers":
        number = frame.f_locals.get("num_train_epochs")
    elif package == "ignite":
        number = getattr(getattr(frame.f_locals.get("self"), "state", None), "max_epochs", None)
        number = None if number == 1 else number  # an evaluator's, whose engine is of the same class
    return number if type(number) is int and number > 0 else None


@lru_cache(maxsize=64)
def source_tree(filename: str) -> ast.Module | None:
    """The parsed source of a file; None when it cannot be read or parsed."""
    try:
        return ast.parse("".join(linecache.getlines(filename)))  # a notebook's cells are kept there as a script
    except (SyntaxError, ValueError):
        return None


def _loops_around(filename: str, line: int) -> list[ast.For]:
    """The for loops of the same function whose body holds a line, outermost first."""
    tree = source_tree(filename)
    if tree is None:
        return []
    loops: list[ast.For] = []

    def visit(node: ast.AST, around: list[ast.For]) -> None:
        for child in ast.iter_child_nodes(node):
            if not getattr(child, "lineno", line) <= line <= getattr(child, "end_lineno", line):
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                visit(child, [])
                continue
            inner = [*around, child] if isinstance(child, ast.For) and child.body[0].lineno <= line else around
            if inner is not around or not list(ast.iter_child_nodes(child)):
                loops[:] = inner
            visit(child, inner)

    visit(tree, [])
    return loops


def _length(node: ast.expr, names: dict[str, Any]) -> int | None:
    """Length of a range expression, through progress bars."""
    if not isinstance(node, ast.Call):
        return None
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ("range", "trange") and node.args:
        try:
            return len(range(*(int(_value(a, names)) for a in node.args)))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, ZeroDivisionError):
            return None
    return _length(node.args[0], names) if called in _WRAPPERS and node.args else None


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr)
    if isinstance(node, ast.Subscript):
        return _value(node.value, names)[_value(node.slice, names)]
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, names), _value(node.right, names)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.FloorDiv):
            return left // right
    msg = f"not a plain value: {ast.dump(node)}"
    raise ValueError(msg)
