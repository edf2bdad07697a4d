"""Where a collate function takes up one of the things that it joins, read off its source."""

from __future__ import annotations

import ast

from trainlint.probes.source.expressions import called, is_name, part_of
from trainlint.probes.source.scopes import Function, Scope, own_nodes, set_last
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["joined_at"]

#: Calls that join the members of a list, and those that add one to it.
_JOINS = frozenset({"cat", "concat", "concatenate", "hstack", "vstack", "stack", "tensor", "as_tensor", "long", "t", "contiguous"})
_ADDS = frozenset({"append", "extend", "insert"})
_MODULES = ("torch", "np", "numpy")
#: Variables and calls that are followed.
_MOST = 8


def joined_at(filename: str, first: int, path: str) -> Place | None:
    """The line, of the function that begins at line ``first``, that takes up what it returns joined at ``path``.

    The one statement that adds to the list that is joined, or the comprehension that makes it; None where the source does not tell.
    """
    tree = source_tree(filename)
    functions = [n for n in ast.walk(tree) if isinstance(n, Function)] if tree is not None else []
    function = next((f for f in functions if first in (f.lineno, *(d.lineno for d in f.decorator_list))), None)
    returned = [n.value for n in own_nodes(function) if isinstance(n, ast.Return) and n.value is not None] if function is not None else []
    if function is None or len(returned) != 1:
        return None
    scope, value = Scope(filename, function), _returned(returned[0], path)
    for _ in range(_MOST):
        if isinstance(value, ast.Name):
            added = _added(function, value.id)
            if added:
                return (filename, added[0], function.name) if len(added) == 1 else None
            value = set_last(scope, value, value.lineno)
        elif isinstance(value, ast.Call) and called(value) in _JOINS:
            owner = value.func.value if isinstance(value.func, ast.Attribute) else None
            of_module = owner is None or any(is_name(owner, module) for module in _MODULES)
            value = owner if not of_module else value.args[0] if value.args else None
        else:
            break
    return (filename, value.elt.lineno, function.name) if isinstance(value, ast.ListComp | ast.GeneratorExp) else None


def _returned(value: ast.expr, path: str) -> ast.expr | None:
    """The part of what is returned; of an object that is made there, what it is given by that name."""
    if isinstance(value, ast.Call):
        return next((k.value for k in value.keywords if k.arg and path in (f".{k.arg}", f"[{k.arg!r}]")), None)
    return part_of(value, path)


def _added(function: Function, name: str) -> list[int]:
    """Lines that add to the list of this name."""
    nodes = list(own_nodes(function))
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in _ADDS]
    sums = [n.lineno for n in nodes if isinstance(n, ast.AugAssign) and is_name(n.target, name)]
    return [n.lineno for n in calls if isinstance(n.func, ast.Attribute) and is_name(n.func.value, name)] + sums
