"""Scopes of a user's source: what a function or a file sets, calls and is given, read and not run."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["Arguments", "Function", "Scope", "bound", "called", "calls_at", "own_nodes", "owner_of", "parameters", "scope_at", "set_last"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Arguments = dict[str, tuple[ast.expr, "Scope"]]


@dataclass
class Scope:
    """A function's body, or a file's."""

    filename: str
    body: ast.Module | Function
    owner: ast.ClassDef | None = None
    arguments: Arguments = field(default_factory=dict)
    """What its parameters were given, with the scope that this is written in."""
    built: Arguments = field(default_factory=dict)
    """What the constructor of its class was given."""
    callers: list[Place] = field(default_factory=list)
    turn: tuple[int, int] = (0, 1)
    """Which of the calls on the caller's line this is, and of how many."""

    @property
    def name(self) -> str:
        """The function's, as frames have it."""
        return "<module>" if isinstance(self.body, ast.Module) else self.body.name


def called(call: ast.Call) -> str:
    """The last word of what is called; empty where that has no name."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def scope_at(place: Place, callers: list[Place]) -> Scope | None:
    """The innermost function around a line."""
    tree = source_tree(place[0])
    if tree is None:
        return None
    around = [n for n in ast.walk(tree) if isinstance(n, Function) and n.lineno <= place[1] <= (n.end_lineno or n.lineno)]
    return Scope(place[0], max(around, key=lambda n: n.lineno, default=tree), callers=callers)


def owner_of(scope: Scope) -> ast.ClassDef | None:
    """The class that a method's scope is in."""
    tree = source_tree(scope.filename)
    return next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and scope.body in n.body), None) if tree is not None else None


def calls_at(scope: Scope, line: int) -> list[ast.Call]:
    """Calls that a line is part of, in the order in which they are written."""
    calls = [n for n in own_nodes(scope.body) if isinstance(n, ast.Call) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    return sorted(calls, key=lambda n: (n.lineno, n.col_offset))


def own_nodes(body: ast.Module | Function) -> Iterator[ast.AST]:
    """Yield what a body runs itself, without the functions and classes that it defines; outer statements first."""
    queue: deque[ast.AST] = deque(body.body)
    while queue:
        node = queue.popleft()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            queue += ast.iter_child_nodes(node)


def set_last(scope: Scope, wanted: ast.expr, before: int | None) -> ast.expr | None:
    """The value of the last statement of a scope, above a line, that sets a variable, an attribute or elements of either."""
    name, found = ast.dump(_target(wanted)), []
    for node in own_nodes(scope.body):
        if before is not None and getattr(node, "lineno", before) >= before:
            continue
        if isinstance(node, ast.Assign):
            for target in node.targets:
                parts = list(target.elts) if isinstance(target, ast.Tuple | ast.List) else [target]
                values = [node.value] if len(parts) == 1 else _unpacked(node.value, len(parts))
                found += [v for t, v in zip(parts, values, strict=False) if ast.dump(_target(t)) == name]
        elif isinstance(node, ast.AugAssign) and ast.dump(_target(node.target)) == name:
            found.append(ast.copy_location(ast.BinOp(node.target, node.op, node.value), node))
    return max(found, key=lambda v: v.lineno, default=None)


def _unpacked(value: ast.expr, count: int) -> list[ast.expr]:
    if isinstance(value, ast.Tuple):
        return value.elts
    return [ast.copy_location(ast.Subscript(value, ast.Constant(i), ast.Load()), value) for i in range(count)]


def _target(target: ast.expr) -> ast.expr:
    """The variable or attribute of self that is set, be it by its elements, in the form in which it is read."""
    while isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Attribute):
        return ast.Attribute(target.value, target.attr, ast.Load())
    return ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target


def bound(call: ast.Call, function: Function, scope: Scope, *, method: bool = False) -> Arguments:
    """What a call, written in ``scope``, gives to a function's parameters by name; without self for a method."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)][int(method) :]
    plain = _spread(call, function, names)
    found = dict(zip(names, plain, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    return {name: (value, scope) for name, value in found.items()}


def _spread(call: ast.Call, function: Function, names: list[str]) -> list[ast.expr]:
    """The positional arguments, ``*these`` one by one where their number follows from the function's; empty where it does not."""
    starred = [i for i, a in enumerate(call.args) if isinstance(a, ast.Starred)]
    if not starred:
        return call.args
    place, one = starred[0], call.args[starred[0]]
    if len(starred) > 1 or function.args.defaults or function.args.vararg or not isinstance(one, ast.Starred):
        return []
    count = len(names) - len(call.args) + 1 - sum(k.arg in names for k in call.keywords)
    parts = [ast.copy_location(ast.Subscript(one.value, ast.Constant(i), ast.Load()), one) for i in range(count)]
    return [*call.args[:place], *parts, *call.args[place + 1 :]]


def parameters(function: Function) -> Iterator[ast.arg]:
    """Yield a function's parameters, but for those that take any number of arguments."""
    yield from (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
