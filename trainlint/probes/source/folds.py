"""A model that goes on from fold to fold of a cross-validation: what validates a later fold was trained on in an earlier one.

Read off the loop over the folds that is running, whose later turns a recording does not reach. Names are looked up, nothing is called.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from types import FrameType
from typing import Any

from torch import nn

from trainlint.measurements import CarriedOver
from trainlint.probes.source.scopes import Function, called
from trainlint.record.following import body_of, value_of
from trainlint.record.frames import Frames, Place
from trainlint.record.parameters import parameters_of
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["carried_over"]

#: Splitters whose folds follow each other in time, or are those of one split: what validates one was not trained on before.
_IN_ORDER = frozenset({"TimeSeriesSplit", "PredefinedSplit"})
#: Parts of the names of calls that may give a model new weights, or another model.
_ANEW = ("apply", "build", "clone", "copy", "create", "get_model", "init", "load", "make", "new", "reset", "restore", "set_params")
#: Parts of the names of those that make something else.
_OTHERS = ("data", "fold", "loader", "optim", "sched", "split")
#: Calls within calls that are followed.
_DEPTH = 3


def carried_over(recording: Recording) -> CarriedOver | None:
    """The model that is trained in the running loop over folds, was made before it, and is given no new weights there."""
    frames = recording.frames
    trained = {id(p) for seen in recording.training for p in seen.parameters}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        tree = source_tree(code.co_filename) if frames.is_user(code.co_filename) else None
        body = body_of(tree, code) if tree is not None else None
        names = {**frame.f_globals, **frame.f_locals} if body else {}
        for loop in _loops(body or (), frame.f_lineno):
            if _splits(loop.iter, body or [], names) and _validates(loop) and not _leaves_off(loop):
                found = _model(loop, names, trained, recording)
                if found is not None and not _gets_new_weights(loop.body, names, found.name.removeprefix("self."), _DEPTH):
                    return found
        frame = frame.f_back
    return None


def _loops(body: Collection[ast.stmt], line: int) -> Iterator[ast.For]:
    """The for loops whose body is running at a line, those of inner functions left out."""
    for statement in body:
        for node in ast.walk(statement) if not isinstance(statement, Function | ast.ClassDef) else ():
            if isinstance(node, ast.For) and node.body[0].lineno <= line <= (node.body[-1].end_lineno or line):
                yield node


def _splits(value: ast.expr, body: Collection[ast.stmt], names: Mapping[str, Any]) -> bool:
    """Whether an expression, or what its variable was set to, holds the folds of a splitter."""
    held = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    set_to = [
        n.value
        for s in body
        for n in ast.walk(s)
        if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id in held for t in n.targets)
    ]
    for one in (value, *set_to):
        for call in (n for n in ast.walk(one) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "split"):
            maker = call.func.value if isinstance(call.func, ast.Attribute) else call
            splitter = value_of(maker.func if isinstance(maker, ast.Call) else maker, names)
            if _is_splitter(splitter if isinstance(splitter, type) else type(splitter)) and _has_folds(splitter, maker):
                return True
    return False


def _is_splitter(kind: type) -> bool:
    return kind.__module__.startswith("sklearn.model_selection") and hasattr(kind, "get_n_splits") and kind.__name__ not in _IN_ORDER


def _has_folds(splitter: Any, maker: ast.expr) -> bool:
    """Whether there are two folds or more."""
    if isinstance(splitter, type):
        given = [k.value for k in maker.keywords if k.arg == "n_splits"] + maker.args[:1] if isinstance(maker, ast.Call) else []
        return not any(isinstance(v, ast.Constant) and v.value == 1 for v in given)
    return getattr(splitter, "n_splits", 2) != 1


def _validates(loop: ast.For) -> bool:
    """Whether the loop's body uses the second half of each fold."""
    pairs = [
        t for t in ast.walk(loop.target) if isinstance(t, ast.Tuple) and len(t.elts) == 2 and all(isinstance(e, ast.Name) for e in t.elts)
    ]
    wanted = {e.id for t in pairs for e in t.elts[1:] if isinstance(e, ast.Name)}
    return any(isinstance(n, ast.Name) and n.id in wanted and isinstance(n.ctx, ast.Load) for s in loop.body for n in ast.walk(s))


def _leaves_off(loop: ast.For) -> bool:
    """Whether the loop may not come to its later folds."""
    queue: list[ast.AST] = list(loop.body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Break | ast.Continue | ast.Return):
            return True
        if not isinstance(node, ast.For | ast.While | Function):
            queue += ast.iter_child_nodes(node)
    return False


def _model(loop: ast.For, names: Mapping[str, Any], trained: Collection[int], recording: Recording) -> CarriedOver | None:
    """The trained model that a variable of before the loop holds, by itself or in a net of skorch that keeps its weights."""
    stored = [n for s in (loop.target, *loop.body) for n in ast.walk(s)]
    changing = {n.id for n in stored if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    attributes = {n.attr for n in stored if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    used = {n.id for n in stored if isinstance(n, ast.Name)} - changing
    held = [(name, names.get(name)) for name in sorted(used)]
    own = getattr(names.get("self"), "__dict__", {}) if "self" in used else {}
    held += [(f"self.{name}", value) for name, value in own.items() if name not in attributes]
    for name, value in held:
        if isinstance(value, nn.Module) and any(id(p) in trained for p in parameters_of(value)):
            place = recording.places.get(id(value))
            return CarriedOver(name=name, where=recording.frames.location(place)) if place is not None else None
        module = getattr(value, "module_", None) if _is_skorch(type(value)) else None
        if isinstance(module, nn.Module) and any(id(p) in trained for p in parameters_of(module)):
            goes_on = _fit_by(loop, name)
            if goes_on == "partial_fit" or (goes_on == "fit" and getattr(value, "warm_start", False) is True):
                return CarriedOver(
                    name=name, warm_start=goes_on == "fit", where=recording.frames.location(_warm(recording.frames, loop, name, goes_on))
                )
    return None


def _is_skorch(kind: type) -> bool:
    return any(c.__name__ == "NeuralNet" and c.__module__.startswith("skorch") for c in kind.__mro__)


def _fit_by(loop: ast.For, name: str) -> str:
    """The method that trains a net in the loop."""
    calls = [n.func for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return next((f.attr for f in calls if f.attr in ("fit", "partial_fit") and ast.unparse(f.value) == name), "")


def _warm(frames: Frames, loop: ast.For, name: str, method: str) -> Place | None:
    """Where a net is told to keep its weights, else where it is trained in the loop."""
    here = frames.stack()
    for filename in dict.fromkeys(place[0] for place in here):
        line = _told_to_keep(filename) if method == "fit" else None
        if line is not None:
            return filename, line, "<module>"
    inside = [p for p in here if loop.body[0].lineno <= p[1] <= (loop.body[-1].end_lineno or p[1])]
    return inside[-1] if inside else None


def _told_to_keep(filename: str) -> int | None:
    """The first line of a file that sets warm_start to True in a call."""
    tree = source_tree(filename)
    keywords = [k for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords] if tree is not None else []
    return min((k.value.lineno for k in keywords if k.arg == "warm_start" and ast.unparse(k.value) == "True"), default=None)


def _gets_new_weights(body: Collection[ast.stmt], names: Mapping[str, Any], name: str, depth: int) -> bool:
    """Whether statements, or functions and constructors of the user's that they call, may give a model new weights, or set its variable anew."""
    for call in (n for statement in body for n in ast.walk(statement) if isinstance(n, ast.Call)):
        word = called(call).lower()
        if any(part in word for part in _ANEW) and not any(part in word for part in _OTHERS):
            return True
        target = value_of(call.func, names)
        code = getattr(getattr(target, "__init__", None) if isinstance(target, type) else target, "__code__", None)
        tree = source_tree(code.co_filename) if code is not None and depth and "site-packages" not in code.co_filename else None
        inner = body_of(tree, code) if tree is not None and code is not None else None
        within = {**getattr(target, "__globals__", {}), "self": getattr(target, "__self__", None)}
        if inner and (_sets(inner, name) or _gets_new_weights(inner, within, name, depth - 1)):
            return True
    return False


def _sets(body: Collection[ast.stmt], name: str) -> bool:
    """Whether statements set an attribute of this name, or a variable of the file."""
    nodes = [n for statement in body for n in ast.walk(statement)]
    return any(isinstance(n, ast.Attribute) and n.attr == name and isinstance(n.ctx, ast.Store) for n in nodes) or any(
        isinstance(n, ast.Global) and name in n.names for n in nodes
    )
