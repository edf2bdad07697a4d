"""Where labels meet their inputs by an index that one of the tables has lost: pandas joins by index, not by place.

A table that is made anew from an array counts its rows from 0. Put beside a table whose rows were shuffled, sorted or picked, each row gets another's.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from trainlint.probes.source.scopes import called
from trainlint.probes.source.ways import Step, way_of, way_of_loader
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["joined_apart"]

#: Methods that keep each row's index while rows change their places or go, those that keep both, and functions that make an array of a table.
_MOVES = frozenset({"drop_duplicates", "dropna", "nlargest", "nsmallest", "query", "sample", "sort_values"})
_KEEPS = frozenset({"assign", "astype", "clip", "copy", "drop", "fillna", "filter", "rename", "round"})
_BUILDS = frozenset({"array", "asarray", "column_stack", "concatenate", "hstack", "stack", "vstack"})
_MODULES = ("np", "numpy", "torch")


def joined_apart(recording: Recording, entry: Loader, path: str) -> Place | None:
    """The line, on the way of a loader's labels, that joins by index a table made anew and one whose rows had moved; None where none is sure."""
    way = way_of_loader(recording, entry, path)
    if any(map(_resets_in_place, {step.place[0] for step in way})):
        return None
    for step in way:
        for one, other in itertools.combinations(_joined(step), 2):
            if {_index(one, step), _index(other, step)} == {"anew", "moved"}:
                return step.place
    return None


def _joined(step: Step) -> Iterator[ast.expr]:
    """Yield the tables that are put beside each other by their index at a step."""
    value = step.value
    name, table = (called(value), getattr(value.func, "value", None)) if isinstance(value, ast.Call) else ("", None)
    if isinstance(value, ast.Call) and table is not None:
        settings = {k.arg: k.value for k in value.keywords}
        first, axis = value.args[0] if value.args else None, settings.get("axis")
        if name == "join" and first is not None and "on" not in settings:
            yield from (table, first)
        elif name == "assign":
            yield from (table, *settings.values())
        elif (
            name == "concat" and isinstance(first, ast.List | ast.Tuple) and isinstance(axis, ast.Constant) and axis.value in (1, "columns")
        ):
            yield from first.elts
    tree = source_tree(step.place[0])
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Assign) and node.value is value and isinstance(node.targets[0], ast.Subscript):
            yield from (node.targets[0].value, value)


def _index(table: ast.expr, at: Step) -> str:
    """``anew`` for a table that counts its rows from 0, ``moved`` for one whose rows no longer are in the order of their index, else nothing."""
    for step in way_of(table, at.scope):
        value = step.value
        if isinstance(value, ast.Call):
            name, keywords = called(value), {k.arg for k in value.keywords}
            if name in _MOVES:
                return "" if keywords & {"ignore_index", "inplace"} else "moved"
            if name == "reset_index":
                return "anew"
            if name in ("DataFrame", "Series"):
                return "anew" if "index" not in keywords and len(value.args) == 1 and _is_array(value.args[0], step) else ""
            if name not in _KEEPS:
                return ""
        elif isinstance(value, ast.Subscript):
            split = isinstance(value.value, ast.Call) and called(value.value) == "train_test_split"
            if split or _picks_rows(value):
                return "moved"
        elif not isinstance(value, ast.Name | ast.Attribute) or (isinstance(value, ast.Attribute) and value.attr == "values"):
            return ""
    return ""


def _picks_rows(value: ast.Subscript) -> bool:
    """Whether rows are picked by a condition, by their places in another order, or from a later one on."""
    by_place = isinstance(value.value, ast.Attribute) and value.value.attr in ("iloc", "loc")
    if isinstance(value.slice, ast.Slice):
        return value.slice.lower is not None
    return isinstance(value.slice, ast.Compare) or (by_place and isinstance(value.slice, ast.Name | ast.Call | ast.Subscript))


def _is_array(value: ast.expr, at: Step) -> bool:
    """Whether a value is an array of numbers for sure, which has no index to hand on; NumPy's plain functions give back tables where they get them."""
    if isinstance(value, ast.Name):
        made = next((s for s in way_of(value, at.scope) if not isinstance(s.value, ast.Name)), None)
        return made is not None and _is_array(made.value, made)
    if isinstance(value, ast.BinOp):
        return all(isinstance(side, ast.Constant) or _is_array(side, at) for side in (value.left, value.right))
    if isinstance(value, ast.Attribute):
        return value.attr == "values" or _is_array(value.value, at)
    if not isinstance(value, ast.Call):
        return isinstance(value, ast.ListComp)
    of = value.func.value if isinstance(value.func, ast.Attribute) else None
    if isinstance(of, ast.Name) and of.id in _MODULES:
        return called(value) in _BUILDS or (bool(value.args) and _is_array(value.args[0], at))
    if isinstance(of, ast.Attribute) and isinstance(of.value, ast.Name) and of.value.id in _MODULES:
        return True  # np.fft, np.linalg
    scaled = called(value) in ("fit_transform", "transform") and bool(value.args) and isinstance(value.args[0], ast.Name | ast.Subscript)
    return scaled or called(value) in ("numpy", "to_numpy", "toarray")


def _resets_in_place(filename: str) -> bool:
    """Whether a file gives some table another index in place, which a way does not see."""
    tree = source_tree(filename)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call) and called(node) in ("reset_index", "set_index") and any(k.arg == "inplace" for k in node.keywords):
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Attribute) and t.attr == "index" for t in node.targets):
            return True
    return False
