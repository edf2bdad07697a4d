"""Layers that a loop sets free further on, read off the source of the loop that is running: a recording ends before it happens."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainlint.probes.source.scopes import called
from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames, Place
from trainlint.record.parameters import parameters_of
from trainlint.record.planned import planned_epochs, source_tree

__all__ = ["unfrozen_later"]

#: Calls within calls that are followed.
_DEPTH = 4
_LISTS = frozenset({"parameters", "named_parameters"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def unfrozen_later(frames: Frames, waiting: Collection[int]) -> Place | None:
    """Where a running loop sets ``requires_grad`` of parameters that are frozen now, and hands them to no optimizer.

    ``waiting`` has the ids of those parameters. Names are looked up, nothing is called. A loop that freezes as well (as networks that take
    turns do), that builds an optimizer or adds to one, or whose condition cannot come true any more, says nothing.
    """
    frame: FrameType | None = sys._getframe(1)
    epochs = planned_epochs(frames)
    while frame is not None:
        code = frame.f_code
        tree = source_tree(code.co_filename) if frames.is_user(code.co_filename) else None
        for statement in (body_of(tree, code) if tree is not None else None) or ():
            for loop in _loops(statement, frame.f_lineno):
                changing = {n.id for n in ast.walk(loop) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                names = {n: v for n, v in {**frame.f_globals, **frame.f_locals}.items() if n not in changing}
                reading = _Reading(frames, waiting, epochs)
                reading.read(loop.body, _Names(code.co_filename, code.co_name, names), 0)
                if reading.found and not reading.ruled_out:
                    return reading.found[0]
        frame = frame.f_back
    return None


def _loops(node: ast.AST, line: int) -> Iterator[ast.For | ast.While]:
    """The loops of the same function whose body is running at a line."""
    for child in ast.walk(node) if not isinstance(node, _DEFINITIONS) else ():
        if isinstance(child, ast.For | ast.While) and child.body[0].lineno <= line <= (child.body[-1].end_lineno or line):
            yield child


@dataclass
class _Names:
    """What names stand for in a function's body; those that the loop changes are not among them."""

    filename: str
    function: str
    values: Mapping[str, Any]
    given: dict[str, Place] = field(default_factory=dict)
    """The call that gave a parameter its constant."""
    lists: dict[str, nn.Module | None] = field(default_factory=dict)
    """A variable that runs over parameters -> their module, where it is known."""


@dataclass
class _Reading:
    """What a loop does to the freedom of parameters, and to its optimizers."""

    frames: Frames
    waiting: Collection[int]
    epochs: int | None
    found: list[Place] = field(default_factory=list)
    ruled_out: bool = False

    def read(self, body: Collection[ast.AST], names: _Names, depth: int) -> None:
        for node in body:
            self._node(node, names, depth)

    def _node(self, node: ast.AST, names: _Names, depth: int) -> None:
        if isinstance(node, _DEFINITIONS):
            return
        if isinstance(node, ast.If):
            self.read([*(() if self._never(node.test, names.values) else node.body), *node.orelse], names, depth)
            return
        if isinstance(node, ast.For) and (
            call := next((c for c in ast.walk(node.iter) if isinstance(c, ast.Call) and called(c) in _LISTS), None)
        ):
            module = value_of(call.func.value, names.values) if isinstance(call.func, ast.Attribute) else None
            names.lists.update(
                (n.id, module if isinstance(module, nn.Module) else None) for n in ast.walk(node.target) if isinstance(n, ast.Name)
            )
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == "requires_grad":
                    self._set(target.value, node.value, node, names)
                self.ruled_out |= isinstance(node.value, ast.Call) and "opt" in ast.unparse(target).lower().rpartition(".")[2]
        if isinstance(node, ast.Constant):
            self.ruled_out |= node.value == "params"
        if isinstance(node, ast.Call):
            self._call(node, names, depth)
        self.read(list(ast.iter_child_nodes(node)), names, depth)

    def _call(self, call: ast.Call, names: _Names, depth: int) -> None:
        target, word = value_of(call.func, names.values), called(call)
        if word == "requires_grad_" and isinstance(call.func, ast.Attribute):
            flag = next(iter([*call.args, *(k.value for k in call.keywords)]), ast.Constant(True))
            self._set(call.func.value, flag, call, names)
        builds = isinstance(target, type) and issubclass(target, Optimizer)
        self.ruled_out |= builds or word == "add_param_group" or "optim" in word.lower()
        code = getattr(target, "__code__", None)
        if code is None or depth >= _DEPTH or not self.frames.is_user(code.co_filename):
            return
        tree = source_tree(code.co_filename)
        self.read((body_of(tree, code) if tree is not None else None) or (), _inside(call, target, names), depth + 1)

    def _set(self, owner: ast.expr, flag: ast.expr, node: ast.stmt | ast.expr, names: _Names) -> None:
        """``requires_grad`` of something is set: of parameters that wait, of others, or of an input."""
        listed = isinstance(owner, ast.Name) and owner.id in names.lists
        module = names.lists[owner.id] if isinstance(owner, ast.Name) and listed else value_of(owner, names.values)
        if not any(id(p) in self.waiting for p in parameters_of(module)) if isinstance(module, nn.Module) else not listed:
            return
        value = flag.value if isinstance(flag, ast.Constant) else names.values.get(flag.id) if isinstance(flag, ast.Name) else None
        here = (names.filename, node.lineno, names.function)
        if value is True:
            self.found.append(names.given.get(flag.id, here) if isinstance(flag, ast.Name) else here)
        else:
            self.ruled_out = True

    def _never(self, test: ast.expr, values: Mapping[str, Any]) -> bool:
        """Whether a condition cannot come true: a setting that switches it off, or an epoch that is not reached."""
        parts = test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]
        return any(self._is_off(part, values) for part in parts)

    def _is_off(self, part: ast.expr, values: Mapping[str, Any]) -> bool:
        if isinstance(part, ast.Constant):
            return not part.value
        if isinstance(part, ast.Name | ast.Attribute):
            value, missing = value_of(part, values), _root(part) not in values
            return not missing and (value is None or value is False or value == 0) and not isinstance(value, nn.Module)
        if not isinstance(part, ast.Compare) or len(part.ops) > 1:
            return False
        left, right, negative = part.left, part.comparators[0], isinstance(part.ops[0], ast.IsNot | ast.NotEq)
        if negative:
            return isinstance(right, ast.Constant) and right.value is None and _root(left) in values and value_of(left, values) is None
        number = next((n for side in (left, right) if type(n := _constant(side, values)) is int), None)
        return number is not None and isinstance(part.ops[0], ast.Eq | ast.Gt | ast.GtE) and not 0 <= number < (self.epochs or sys.maxsize)


def _constant(node: ast.expr, values: Mapping[str, Any]) -> Any:
    return node.value if isinstance(node, ast.Constant) else value_of(node, values)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _inside(call: ast.Call, target: Any, names: _Names) -> _Names:
    """The names of a function that is called: its file's, itself, and arguments that are constants or known names."""
    code = target.__code__
    itself = getattr(target, "__self__", None)
    wanted = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    values = {**getattr(target, "__globals__", {})}
    for name in wanted:
        values.pop(name, None)
    given = dict(zip(wanted[int(itself is not None) :], call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    found = _Names(code.co_filename, code.co_name, values)
    if itself is not None and wanted:
        values[wanted[0]] = itself
    for name, default in zip(reversed(wanted[: code.co_argcount]), reversed(getattr(target, "__defaults__", None) or ()), strict=False):
        values.setdefault(name, default)
    for name, expression in given.items():
        if isinstance(expression, ast.Constant) or _root(expression) in names.values:
            values[name] = _constant(expression, names.values)
            found.given[name] = (
                names.given.get(expression.id, (names.filename, call.lineno, names.function))
                if isinstance(expression, ast.Name)
                else (names.filename, call.lineno, names.function)
            )
        else:
            values.pop(name, None)
    return found
