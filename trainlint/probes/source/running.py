"""The loops that are running, and what names stand for in the functions that they call: looked up, with nothing called."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType, FunctionType, MethodType
from typing import Any

from torch import nn

from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["DEFINITIONS", "Names", "constant", "inside", "root", "running_loops", "undecorated"]

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass
class Names:
    """What names stand for in a function's body; those that the loop changes are not among them."""

    filename: str
    function: str
    values: Mapping[str, Any]
    given: dict[str, Place] = field(default_factory=dict)
    """The call that gave a parameter its constant."""
    lists: dict[str, nn.Module | None] = field(default_factory=dict)
    """A variable that runs over parameters -> their module, where it is known."""


def running_loops(frames: Frames) -> Iterator[tuple[ast.For | ast.While, Names]]:
    """Yield each loop of the user's that is running, those of inner functions first, with the names known there."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        tree = source_tree(code.co_filename) if frames.is_user(code.co_filename) else None
        for statement in (body_of(tree, code) if tree is not None else None) or ():
            for loop in _loops(statement, frame.f_lineno):
                changing = {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                names = {n: v for n, v in {**frame.f_globals, **frame.f_locals}.items() if n not in changing}
                yield loop, Names(code.co_filename, code.co_name, names)
        frame = frame.f_back


def _loops(node: ast.AST, line: int) -> Iterator[ast.For | ast.While]:
    """The loops of the same function whose body is running at a line."""
    for child in ast.walk(node) if not isinstance(node, DEFINITIONS) else ():
        if isinstance(child, ast.For | ast.While) and child.body[0].lineno <= line <= (child.body[-1].end_lineno or line):
            yield child


def constant(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """A constant, or what a dotted name stands for."""
    return node.value if isinstance(node, ast.Constant) else value_of(node, values)


def root(node: ast.expr) -> str:
    """The name that a dotted one begins with; empty where it is none."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def undecorated(target: Any) -> Any:
    """A function or bound method without the decorators that say what they wrap, as ``torch.no_grad()`` does; None for anything else."""
    if isinstance(target, MethodType):
        function = inspect.unwrap(target.__func__)
        return MethodType(function, target.__self__) if isinstance(function, FunctionType) else None
    return inspect.unwrap(target) if isinstance(target, FunctionType) else None


def inside(call: ast.Call, target: Any, names: Names) -> Names:
    """The names of a function that is called: its file's, itself, and arguments that are constants or known names."""
    code = target.__code__
    itself = getattr(target, "__self__", None)
    wanted = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    values = {**getattr(target, "__globals__", {})}
    for name in wanted:
        values.pop(name, None)
    given = dict(zip(wanted[int(itself is not None) :], call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    found = Names(code.co_filename, code.co_name, values)
    if itself is not None and wanted:
        values[wanted[0]] = itself
    for name, default in zip(reversed(wanted[: code.co_argcount]), reversed(getattr(target, "__defaults__", None) or ()), strict=False):
        values.setdefault(name, default)
    for name, expression in given.items():
        if isinstance(expression, ast.Constant) or root(expression) in names.values:
            values[name] = constant(expression, names.values)
            found.given[name] = (
                names.given.get(expression.id, (names.filename, call.lineno, names.function))
                if isinstance(expression, ast.Name)
                else (names.filename, call.lineno, names.function)
            )
        else:
            values.pop(name, None)
    return found
