"""Updates of tensors that never arrive in them, read off the source: a loop over a copy's weights that gives the new value to a name and no more."""

from __future__ import annotations

import ast

from trainlint.probes.source.scopes import Scope, called, own_nodes, scope_at
from trainlint.probes.source.statements import Loop, loops_around
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["lost_update"]

#: Methods that make a new tensor, where their namesakes with an underscore would change the one they are called on.
_MADE_ANEW = frozenset({"add", "addcmul", "lerp", "mul", "sub"})


def lost_update(place: Place | None) -> tuple[str, int] | None:
    """What a statement in a loop gives its result to, which nothing reads from then on, and its line; an empty name where it gives it to nothing.

    A variable that the loop sets to something else in each turn, or an item of a ``state_dict()`` that goes nowhere.
    """
    scope = scope_at(place, []) if place is not None else None
    loops = loops_around(place) if place is not None else []
    if place is None or scope is None or not loops:
        return None
    own = list(own_nodes(scope.body))
    inside = [n for n in own if isinstance(n, ast.Assign | ast.Expr) and n.lineno <= place[1] <= (n.end_lineno or n.lineno)]
    statement = next(iter(inside), None)
    if isinstance(statement, ast.Expr):
        made = isinstance(statement.value, ast.Call) and called(statement.value) in _MADE_ANEW
        return ("", statement.lineno) if made and _is_set_anew(_root(statement.value), loops[-1], statement) else None
    if statement is None or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    variable = target.value if isinstance(target, ast.Subscript) else target
    if not isinstance(variable, ast.Name) or _is_read_on(scope, statement, variable.id):
        return None
    if isinstance(target, ast.Subscript):
        earlier = (n for n in own if isinstance(n, ast.Assign) and n.lineno < statement.lineno)
        before = [n.value for n in earlier if any(isinstance(t, ast.Name) and t.id == variable.id for t in n.targets)]
        lost = bool(before) and all(isinstance(value, ast.Call) and called(value) == "state_dict" for value in before)
    else:
        lost = _is_set_anew(variable.id, loops[-1], statement)
    return (ast.unparse(target), statement.lineno) if lost else None


def _is_set_anew(name: str, loop: Loop, statement: ast.stmt) -> bool:
    """Whether each turn of a loop sets a variable before it comes to a statement: one that is not carries its value on."""
    turns = {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)} if isinstance(loop, ast.For | ast.AsyncFor) else set()
    earlier = [t for n in loop.body if isinstance(n, ast.Assign) and n.lineno < statement.lineno for t in n.targets]
    return name in turns or name in [t.id for t in earlier if isinstance(t, ast.Name)]


def _is_read_on(scope: Scope, statement: ast.Assign, name: str) -> bool:
    """Whether a name is read below a statement, or may be by another function."""
    tree = source_tree(scope.filename)
    everywhere = isinstance(scope.body, ast.Module) or any(
        name in n.names for n in ast.walk(scope.body) if isinstance(n, ast.Global | ast.Nonlocal)
    )
    body = tree if everywhere and tree is not None else scope.body
    end = statement.end_lineno or statement.lineno
    read = [n.lineno for n in ast.walk(body) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
    return any(line > end for line in read)


def _root(node: ast.expr) -> str:
    """The variable that attributes and calls begin with; empty where it is none."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
