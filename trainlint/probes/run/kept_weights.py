"""Copies of the weights that are none, read off the source: ``state_dict()`` and names hold the live tensors, whatever is trained on.

Nothing but the text tells what a script means to keep: a recording ends before it is loaded back. The text is read, never run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from trainlint.measurements import KeptWeights
from trainlint.probes.source.own_files import own_files
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["kept_weights"]

_COPIES = frozenset({"deepcopy", "clone", "copy"})
_SAVES = frozenset({"save", "save_file", "save_model"})


def kept_weights(recording: Recording) -> tuple[KeptWeights, ...]:
    """What the script keeps as the best weights, or copies into a second model, without a copy being made."""
    found = []
    for file in own_files(recording.frames, sys.modules):
        tree = source_tree(file)
        if tree is not None:
            for kind, node, what in _in(tree):
                place = recording.frames.location((file, node.lineno, ""))
                if place is not None:
                    found.append(KeptWeights(kind=kind, what=what, where=place))
    return tuple(found)


def _in(tree: ast.Module) -> Iterator[tuple[str, ast.stmt | ast.expr, str]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = {(ast.unparse(c.func.value), c.func.attr) for c in calls if isinstance(c.func, ast.Attribute)}
    given = [(c, c.args[0]) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "load_state_dict" and c.args]
    loaded = {_last(value) for _, value in given}
    copied = {_last(c.func.value) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in _COPIES}
    copied |= {_last(a) for c in calls if _last(c.func) in _COPIES for a in c.args}
    for call, value in given:
        if isinstance(call.func, ast.Attribute) and (owner := _state_of(value)) and owner == ast.unparse(call.func.value):
            yield "itself", call, owner
    for branch, target, value in _kept_under_a_comparison(tree):
        name = _last(target)
        if not name or name in copied:
            continue
        if _state_of(value) and (name in loaded or _is_saved_later(tree, branch, name)):
            yield "state", value, ast.unparse(target)
        elif isinstance(value, ast.Name | ast.Attribute) and "best" in name.lower() and name != _last(value):
            text = ast.unparse(value)
            if (
                {(text, "parameters"), (text, "train")} & methods
                and _is_read_outside(tree, branch, name)
                and not _is_made_in_a_loop(tree, branch, text)
            ):
                yield "model", value, ast.unparse(target)


def _kept_under_a_comparison(tree: ast.AST) -> Iterator[tuple[ast.If, ast.expr, ast.expr]]:
    """Assignments in the body of an ``if`` that compares, as ``if loss < best``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and any(isinstance(part, ast.Compare) and _orders(part) for part in ast.walk(node.test)):
            for statement in node.body:
                if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                    target, value = statement.targets[0], statement.value
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        yield from ((node, *pair) for pair in zip(target.elts, value.elts, strict=False))
                    else:
                        yield node, target, value


def _is_read_outside(tree: ast.AST, branch: ast.If, name: str) -> bool:
    """Whether a name is used after the branch that sets it, and not only saved there."""
    inside = {id(node) for node in ast.walk(branch)}
    reads = (n for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute) and isinstance(n.ctx, ast.Load) and id(n) not in inside)
    return any(_last(node) == name for node in reads)


def _is_saved_later(tree: ast.AST, branch: ast.If, name: str) -> bool:
    """Whether what the branch sets is written to a file behind the loop around it, when it has changed since."""
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For | ast.While) and any(part is branch for part in ast.walk(n))]
    inside = {id(node) for loop in loops for node in ast.walk(loop)}
    saves = [c for c in ast.walk(tree) if isinstance(c, ast.Call) and _last(c.func) in _SAVES and id(c) not in inside]
    return bool(loops) and any(_last(part) == name for c in saves for a in c.args for part in ast.walk(a) if isinstance(part, ast.expr))


def _is_made_in_a_loop(tree: ast.AST, branch: ast.If, text: str) -> bool:
    """Whether a loop around the branch makes the model anew, as a search over models does."""
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For | ast.While) and any(node is branch for node in ast.walk(loop)):
            made = [t for n in ast.walk(loop) if isinstance(n, ast.Assign) for t in n.targets]
            if any(ast.unparse(part) == text for t in made for part in (t.elts if isinstance(t, ast.Tuple) else [t])):
                return True
    return False


def _orders(compare: ast.Compare) -> bool:
    return any(isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for op in compare.ops)


def _state_of(value: ast.expr) -> str:
    """The text of what a bare ``….state_dict()`` is called on; empty for anything else."""
    bare = isinstance(value, ast.Call) and not value.args and not value.keywords
    func = value.func if isinstance(value, ast.Call) and bare else None
    return ast.unparse(func.value) if isinstance(func, ast.Attribute) and func.attr == "state_dict" else ""


def _last(node: ast.expr) -> str:
    """The last part of a name, ``state`` of ``self.state``: it may be reached in another way elsewhere."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
