"""Averaged weights that a running loop puts into the model further on and never takes out again, read off the source: a recording ends before it happens."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trainlint.probes.source.own_files import own_files
from trainlint.probes.source.running import DEFINITIONS, Names, inside, running_loops, undecorated
from trainlint.probes.source.scopes import called
from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree

__all__ = ["left_in_place"]

#: Calls within calls that are followed.
_DEPTH = 4
_WRITES = frozenset({"copy_", "load_state_dict", "set_"})


def left_in_place(frames: Frames, holder: Any, kept: Collection[str], weights: Collection[int]) -> tuple[Place, str] | None:
    """Where a running loop has ``holder`` put what it keeps into the weights with these ids, and the method that would put others back.

    ``kept`` are its attributes for that. None unless its class has such a method and nothing calls it, or where other lines of the loop write into models, or where it happens under a
    condition that may come true once only, at the end.
    """
    kind = type(holder)
    own = (name for c in kind.__mro__ if c.__module__.partition(".")[0] not in ("torch", "builtins") for name in vars(c))
    methods = {name: method for name in own if (method := undecorated(inspect.getattr_static(kind, name, None))) is not None}
    roles = {name: _put_in(method, methods, set()) for name, method in methods.items()}
    applying = {n for n, attributes in roles.items() if attributes & {*kept} and not attributes - {*kept} and not _moves(methods[n], kept)}
    restoring = {name for name, attributes in roles.items() if attributes - {*kept}}
    if not applying or not restoring or _mentions(frames, restoring, kind.__name__):
        return None
    for loop, names in running_loops(frames):
        reading = _Reading(frames, holder, applying, weights)
        reading.read(loop.body, names, 0)
        if reading.found and not reading.ruled_out:
            return reading.found[0], min(restoring)
    return None


def _mentions(frames: Frames, methods: Collection[str], owner: str) -> bool:
    """Whether the user's files name a method anywhere but in its own class."""
    for tree in filter(None, map(source_tree, own_files(frames, sys.modules))):
        own = {id(n) for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and c.name == owner for n in ast.walk(c)}
        if any(isinstance(n, ast.Attribute) and n.attr in methods and id(n) not in own for n in ast.walk(tree)):
            return True
    return False


def _put_in(method: Any, methods: Mapping[str, Any], seen: set[str]) -> set[str]:
    """The attributes of self whose tensors a method, or one of self's that it calls, writes into others than self's."""
    nodes = _nodes(method)
    runs = dict(pair for n in nodes for pair in _runs_over(n))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "self" and name in methods and name not in seen:
                seen.add(name)
                found |= _put_in(methods[name], methods, seen)
            pair = (node.func.value, node.args[0]) if name in _WRITES and node.args else None
        else:
            data = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute) and node.targets[0].attr == "data"
            pair = (node.targets[0], node.value) if isinstance(node, ast.Assign) and data else None
        if pair is not None:
            into, taken = (_attribute(part, runs) for part in pair)
            found |= {taken} - {into, ""}
    return found


def _moves(method: Any, kept: Collection[str]) -> bool:
    """Whether a method changes what is kept as well: averages that lead the training do (Lookahead)."""
    nodes = _nodes(method)
    runs = dict(pair for n in nodes for pair in _runs_over(n))
    changed = [n.func.value for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr.endswith("_")]
    changed += [n for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    return any(_attribute(node, runs) in kept for node in changed)


def _nodes(method: Any) -> list[ast.AST]:
    tree = source_tree(method.__code__.co_filename)
    return [n for statement in (body_of(tree, method.__code__) if tree is not None else None) or [] for n in ast.walk(statement)]


def _runs_over(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield variables that a loop sets, each with what it runs over, and those that are set to something."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        yield node.targets[0].id, node.value
    if isinstance(node, ast.For | ast.comprehension):
        pairs = node.iter.args if isinstance(node.iter, ast.Call) and called(node.iter) == "zip" else []
        targets = node.target.elts if isinstance(node.target, ast.Tuple) else [node.target]
        for target, given in zip(targets, pairs if len(pairs) == len(targets) else [node.iter] * len(targets), strict=True):
            yield from ((n.id, given) for n in ast.walk(target) if isinstance(n, ast.Name))


def _attribute(node: ast.expr, runs: Mapping[str, ast.expr], depth: int = 0) -> str:
    """The attribute of self that an expression takes its tensors from; empty where it begins with something else."""
    while not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"):
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func
        elif isinstance(node, ast.Name) and node.id in runs and depth < _DEPTH:
            return _attribute(runs[node.id], runs, depth + 1)
        else:
            return ""
    return node.attr


@dataclass
class _Reading:
    """What a loop does with an object that keeps weights."""

    frames: Frames
    holder: Any
    applying: Collection[str]
    weights: Collection[int]
    found: list[Place] = field(default_factory=list)
    ruled_out: bool = False

    def read(self, body: Collection[ast.AST], names: Names, depth: int) -> None:
        for node in body:
            self._node(node, names, depth)

    def _node(self, node: ast.AST, names: Names, depth: int) -> None:
        if isinstance(node, DEFINITIONS):
            return
        if isinstance(node, ast.If) and _once(node):
            self.read(node.orelse, names, depth)
            return
        if isinstance(node, ast.Call):
            self._call(node, names, depth)
        self.ruled_out |= isinstance(node, ast.Attribute) and node.attr == "data" and isinstance(node.ctx, ast.Store)
        self.read(list(ast.iter_child_nodes(node)), names, depth)

    def _call(self, call: ast.Call, names: Names, depth: int) -> None:
        target = undecorated(value_of(call.func, names.values))
        self.ruled_out |= called(call) in _WRITES
        if target is None:
            return
        if getattr(target, "__self__", None) is self.holder:
            if called(call) in self.applying and self._is_trained(call, names):
                self.found.append((names.filename, call.lineno, names.function))
        elif depth < _DEPTH and self.frames.is_user(target.__code__.co_filename):
            tree = source_tree(target.__code__.co_filename)
            self.read((body_of(tree, target.__code__) if tree is not None else None) or (), inside(call, target, names), depth + 1)

    def _is_trained(self, call: ast.Call, names: Names) -> bool:
        """Whether a call hands over the model that is trained, or nothing where the object has it."""
        given = [*call.args, *(k.value for k in call.keywords)]
        listed = [a.func.value if isinstance(a, ast.Call) and isinstance(a.func, ast.Attribute) else a for a in given]
        models = [value_of(a, names.values) for a in listed] or list(vars(self.holder).values())
        tensors = (t for m in models for t in (m.parameters() if isinstance(m, nn.Module) else m if isinstance(m, list | tuple) else ()))
        return any(id(t) in self.weights for t in tensors)


def _once(node: ast.If) -> bool:
    """Whether a condition may come true at the end alone: it compares with a number and not with a remainder, or leaves the loop."""
    ends = any(isinstance(n, ast.Break | ast.Raise) for s in node.body for n in ast.walk(s))
    orders = (ast.Eq, ast.Gt, ast.GtE)
    reaches = any(isinstance(op, orders) for n in ast.walk(node.test) if isinstance(n, ast.Compare) for op in n.ops)
    return ends or (reaches and not any(isinstance(n, ast.Mod) for n in ast.walk(node.test)))
