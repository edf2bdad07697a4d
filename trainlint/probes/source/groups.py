"""Where a group of an optimizer's parameters is picked, read off the source."""

from __future__ import annotations

import ast

from trainlint.probes.source.scopes import Scope, own_nodes, set_last
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["group_picked_at"]


def group_picked_at(filename: str, index: int, count: int) -> Place | None:
    """The line that picks the parameters of group ``index``, in the one list of ``count`` groups that a file writes out.

    None where the file has no such list, or several.
    """
    tree = source_tree(filename)
    if tree is None:
        return None
    bodies = [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))]
    lists = [
        (body, n)
        for body in bodies
        for n in own_nodes(body)
        if isinstance(n, ast.List) and len(n.elts) == count and all(map(_params, n.elts))
    ]
    if len(lists) != 1:
        return None
    body, groups = lists[0]
    scope, value = Scope(filename, body), _params(groups.elts[index])
    picked = set_last(scope, value, groups.lineno) if isinstance(value, ast.Name) else value
    return (filename, (picked or groups.elts[index]).lineno, scope.name)


def _params(group: ast.expr) -> ast.expr | None:
    """What a group that is written as a dict holds."""
    if not isinstance(group, ast.Dict):
        return None
    return next((v for k, v in zip(group.keys, group.values, strict=True) if isinstance(k, ast.Constant) and k.value == "params"), None)
