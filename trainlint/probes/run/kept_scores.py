"""Which way ignite's handlers take a metric to get better, read off the score function that they are given: the higher score is the better one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainlint.probes.source.scopes import Function, called, own_nodes

__all__ = ["scored"]

#: Handlers that keep the best weights, and the one that stops the run; the position of its score function.
_KEEPS, _STOPS, _SECOND = ("Checkpoint", "ModelCheckpoint"), "EarlyStopping", 1


def scored(tree: ast.Module) -> Iterator[tuple[ast.Call, str, bool, ast.expr]]:
    """Yield handlers that a file builds, with ``(metric, whether higher is better, where that is said)``; those whose score is something else are left out."""
    imports = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    imports += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    if not any(name.partition(".")[0] == "ignite" for name in imports):
        return
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) in (*_KEEPS, _STOPS)):
        given = {k.arg: k.value for k in call.keywords}
        second = call.args[_SECOND] if called(call) == _STOPS and len(call.args) > _SECOND else None
        score, mode, kept = given.get("score_function", second), given.get("mode"), given.get("n_saved")
        if score is None or None in given or (isinstance(kept, ast.Constant) and kept.value is None):
            continue
        found = _score(tree, score)
        if found is None or not (mode is None or (isinstance(mode, ast.Constant) and mode.value in ("min", "max"))):
            continue
        metric, rising, where = found
        yield call, metric, rising != (isinstance(mode, ast.Constant) and mode.value == "min"), where


def _score(tree: ast.Module, score: ast.expr) -> tuple[str, bool, ast.expr] | None:
    """``(metric, whether it is not negated, where)`` of a score function: a lambda, a function of the file, or ignite's own."""
    if isinstance(score, ast.Lambda):
        return _metric(score.body, None)
    if isinstance(score, ast.Call) and called(score) == "get_default_score_fn":
        given = dict(zip(("metric_name", "score_sign"), score.args, strict=False)) | {k.arg: k.value for k in score.keywords}
        name, sign = given.get("metric_name"), _number(given.get("score_sign", ast.Constant(1.0)))
        return (name.value, sign > 0, score) if isinstance(name, ast.Constant) and isinstance(name.value, str) and sign else None
    functions = [f for f in ast.walk(tree) if isinstance(f, Function) and isinstance(score, ast.Name) and f.name == score.id]
    returns = [n.value for f in functions for n in own_nodes(f) if isinstance(n, ast.Return)]
    return _metric(returns[0], functions[0]) if len(returns) == len(functions) == 1 and returns[0] is not None else None


def _metric(value: ast.expr, function: Function | None) -> tuple[str, bool, ast.expr] | None:
    """The metric of ``engine.state.metrics["name"]`` and whether it is taken as it is; None for anything but that or its negative."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        found = _metric(value.operand, function)
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult) and (sign := _number(value.left) or _number(value.right)):
        found = _metric(value.right if _number(value.left) else value.left, function)
        return (found[0], found[1] == (sign > 0), value) if found is not None else None
    elif isinstance(value, ast.Name) and function is not None:
        sets = [n.value for n in own_nodes(function) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == value.id]
        found = _metric(sets[0], None) if len(sets) == 1 else None
        return (found[0], found[1], value) if found is not None else None
    elif isinstance(value, ast.Call) and (called(value) == "item" or (len(value.args) == 1 and called(value) == "float")):
        return _metric(value.args[0] if value.args else value.func.value, function)  # type: ignore[attr-defined]
    else:
        held = isinstance(value, ast.Subscript) and isinstance(value.value, ast.Attribute) and value.value.attr == "metrics"
        name = value.slice if isinstance(value, ast.Subscript) and held else None
        return (name.value, True, value) if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
    return (found[0], not found[1], value) if found is not None else None


def _number(node: ast.expr | None) -> float:
    """A number as it is written, with its sign; 0 for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else 0.0
