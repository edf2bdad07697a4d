"""Where other weights are put into a model before it is evaluated, read off the source."""

from __future__ import annotations

import ast

from trainlint.probes.source.scopes import Scope, called, own_nodes, scope_at
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["swap_before"]

_COPIES = frozenset({"copy_", "load_state_dict", "copy_to", "copy_params_to_model", "set_"})


def swap_before(place: Place) -> Place | None:
    """The last line above an evaluation, in its function or before a call of it, that writes into parameters or calls what does; None without one."""
    scope, tree = scope_at(place, []), source_tree(place[0])
    if scope is None or tree is None:
        return None
    writers = {f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_writes, ast.walk(f)))}
    found = _last(scope, place[1], writers)
    if found is not None or isinstance(scope.body, ast.Module):
        return found
    for caller in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) == scope.name):
        around = scope_at((place[0], caller.lineno, ""), [])
        if around is not None and (found := _last(around, caller.lineno, writers)) is not None:
            return found
    return None


def _last(scope: Scope, line: int, writers: set[str]) -> Place | None:
    own = [n for n in own_nodes(scope.body) if getattr(n, "lineno", line) < line]
    lines = [
        n.lineno for n in own if isinstance(n, ast.expr | ast.stmt) and (_writes(n) or (isinstance(n, ast.Call) and called(n) in writers))
    ]
    return (scope.filename, max(lines), scope.name) if lines else None


def _writes(node: ast.AST) -> bool:
    """Whether a node copies into a tensor or a model, or gives a parameter other memory."""
    if isinstance(node, ast.Call):
        return called(node) in _COPIES
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(t, ast.Attribute) and t.attr == "data" for t in targets)
