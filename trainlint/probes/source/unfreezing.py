"""Layers that a loop sets free further on, read off the source of the loop that is running: a recording ends before it happens."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainlint.probes.source.running import DEFINITIONS, Names, constant, inside, root, running_loops
from trainlint.probes.source.scopes import called
from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames, Place
from trainlint.record.parameters import parameters_of
from trainlint.record.planned import planned_epochs, source_tree

__all__ = ["unfrozen_later"]

#: Calls within calls that are followed.
_DEPTH = 4
_LISTS = frozenset({"parameters", "named_parameters"})


def unfrozen_later(frames: Frames, waiting: Collection[int]) -> Place | None:
    """Where a running loop sets ``requires_grad`` of parameters that are frozen now, and hands them to no optimizer.

    ``waiting`` has the ids of those parameters. Names are looked up, nothing is called. A loop that freezes as well (as networks that take
    turns do), that builds an optimizer or adds to one, or whose condition cannot come true any more, says nothing.
    """
    epochs = planned_epochs(frames)
    for loop, names in running_loops(frames):
        reading = _Reading(frames, waiting, epochs)
        reading.read(loop.body, names, 0)
        if reading.found and not reading.ruled_out:
            return reading.found[0]
    return None


@dataclass
class _Reading:
    """What a loop does to the freedom of parameters, and to its optimizers."""

    frames: Frames
    waiting: Collection[int]
    epochs: int | None
    found: list[Place] = field(default_factory=list)
    ruled_out: bool = False

    def read(self, body: Collection[ast.AST], names: Names, depth: int) -> None:
        for node in body:
            self._node(node, names, depth)

    def _node(self, node: ast.AST, names: Names, depth: int) -> None:
        if isinstance(node, DEFINITIONS):
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

    def _call(self, call: ast.Call, names: Names, depth: int) -> None:
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
        self.read((body_of(tree, code) if tree is not None else None) or (), inside(call, target, names), depth + 1)

    def _set(self, owner: ast.expr, flag: ast.expr, node: ast.stmt | ast.expr, names: Names) -> None:
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
            value, missing = value_of(part, values), root(part) not in values
            return not missing and (value is None or value is False or value == 0) and not isinstance(value, nn.Module)
        if not isinstance(part, ast.Compare) or len(part.ops) > 1:
            return False
        left, right, negative = part.left, part.comparators[0], isinstance(part.ops[0], ast.IsNot | ast.NotEq)
        if negative:
            return isinstance(right, ast.Constant) and right.value is None and root(left) in values and value_of(left, values) is None
        number = next((n for side in (left, right) if type(n := constant(side, values)) is int), None)
        return number is not None and isinstance(part.ops[0], ast.Eq | ast.Gt | ast.GtE) and not 0 <= number < (self.epochs or sys.maxsize)
