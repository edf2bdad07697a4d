"""Where inputs are scaled and the result goes nowhere, read off the source: to a name that nothing reads, or to none.

A loop over tables that sets its own variable leaves the tables as they were, and so does a scaler whose result is not kept.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainlint.probes.source.scopes import Scope, called, own_nodes
from trainlint.probes.source.statements import loops_around
from trainlint.probes.source.ways import way_of_loader
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["lost_scaling"]

#: Calls that give back their first argument scaled, and methods that give back what they are called on.
_SCALED = frozenset({"fit_transform", "minmax_scale", "robust_scale", "scale", "standardize", "transform", "zscore"})
_METHODS = frozenset({"div", "divide", "sub", "subtract", "truediv"})


def lost_scaling(recording: Recording, entry: Loader, path: str) -> Place | None:
    """The last line that scales what becomes a loader's input at ``path``, and whose result nothing reads; None where there is none."""
    way, found = way_of_loader(recording, entry, path), []
    for number, step in enumerate(way):
        if not step.beyond and isinstance(step.value, ast.Name | ast.Subscript | ast.Attribute):
            earlier = (s.place[1] for s in way[number:] if s.scope.body is step.scope.body and s.place[1] < step.place[1])
            made = next(earlier, 0)
            lost = (n.lineno for n in _lost(step.scope, ast.dump(step.value)) if made < n.lineno < step.place[1])
            found += [(step.scope.filename, line, step.scope.name) for line in lost]
    return max(found, key=lambda place: place[1], default=None)


def _lost(scope: Scope, table: str) -> Iterator[ast.stmt]:
    """Yield the statements of a scope that scale a table, given as its dump, and lose the result."""
    for node in own_nodes(scope.body):
        if isinstance(node, ast.Expr) and _is_of(node.value, table):
            yield node
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            continue
        reads = _reads(scope, target.id)
        if _is_of(node.value, table) and ast.dump(ast.Name(target.id, ast.Load())) != table and not reads:
            yield node
        inner = loops_around((scope.filename, node.lineno, scope.name))
        turned = inner[-1] if inner and isinstance(inner[-1], ast.For) else None
        if turned is None or node not in turned.body or ast.dump(turned.target) != ast.dump(target):
            continue
        tables = turned.iter.elts if isinstance(turned.iter, ast.Tuple | ast.List) else []
        own = _is_of(node.value, ast.dump(ast.Name(target.id, ast.Load())))
        if own and table in map(ast.dump, tables) and not any(line > (node.end_lineno or node.lineno) for line in reads):
            yield node


def _is_of(value: ast.expr, table: str) -> bool:
    """Whether a value is a table scaled: less something and divided, or as a scaler gives it back."""
    divided = False
    while True:
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub | ast.Div):
            divided, value = divided or isinstance(value.op, ast.Div), value.left
        elif isinstance(value, ast.Call) and called(value) in _METHODS and isinstance(value.func, ast.Attribute):
            divided, value = divided or "div" in called(value), value.func.value
        else:
            break
    if isinstance(value, ast.Call) and called(value) in _SCALED and value.args:
        divided, value = True, value.args[0]
    return divided and ast.dump(value) == table


def _reads(scope: Scope, name: str) -> list[int]:
    """The lines that read a variable, in any function of the file where it is the file's own."""
    tree = source_tree(scope.filename)
    body = tree if isinstance(scope.body, ast.Module) and tree is not None else scope.body
    return [n.lineno for n in ast.walk(body) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
