"""Where inputs and labels are rows of one table in two orders, put side by side by their places: read off the source.

``groupby()`` sorts its groups, ``drop_duplicates()`` leaves them as they come; a table that is sorted or shuffled for one of the two is another such pair.
"""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass, field, replace

from trainlint.probes.source.scopes import Scope, called, own_nodes, set_last
from trainlint.probes.source.ways import Step, way_of_loader
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["ordered_apart"]

#: Methods that leave rows where they are, functions that do so with their first argument, and those that make one row of a group.
_KEEPS = frozenset({
    "add_prefix", "add_suffix", "assign", "astype", "clip", "copy", "drop", "fillna", "filter", "float", "log1p", "map", "numpy", "rename",
    "reset_index", "reshape", "round", "set_index", "squeeze", "to_frame", "to_list", "to_numpy", "tolist", "unsqueeze",
})  # fmt: skip
_CONVERTS = frozenset({"array", "as_tensor", "asarray", "fit_transform", "from_numpy", "log1p", "tensor", "transform"})
_ONE_OF_EACH = frozenset({
    "agg", "aggregate", "all", "any", "count", "first", "last", "max", "mean", "median", "min", "nunique", "size", "std", "sum", "var",
})  # fmt: skip
_MOVES = frozenset({"drop_duplicates", "sort_index", "sort_values"})
#: Names that may stand between a table and its rows.
_DEPTH = 12


@dataclass(frozen=True)
class _Rows:
    """Rows of a table: of which, one of each what, in which order, and the line that says so."""

    base: str
    each: str = ""
    order: str = ""
    """Empty for that of the table itself."""
    line: int = field(default=0, compare=False)


def ordered_apart(recording: Recording, entry: Loader, inputs: str, labels: str) -> Place | None:
    """The line that gives labels, or inputs alone, another order than the other has; None where none is sure."""
    found = [_rows_of(way_of_loader(recording, entry, path)) for path in (inputs, labels)]
    if found[0] is None or found[1] is None:
        return None
    (one, ahead), (other, at) = found[0], found[1]
    if (one.base, one.each) != (other.base, other.each) or one.order == other.order:
        return None
    if _moves_in_place(at.filename):
        return None
    line, scope = (other.line, at) if other.each or other.line >= one.line else (one.line, ahead)
    return scope.filename, line, scope.name


def _rows_of(way: list[Step]) -> tuple[_Rows, Scope] | None:
    """The rows that a way's first expression with a table takes, and the scope that it is written in."""
    for step, following in itertools.zip_longest(way, way[1:]):
        part = following is not None and isinstance(step.value, ast.Name) and _sets_part(following)
        if part or not _is_handed_on(step):
            return _rows(step.value, step.scope, _DEPTH), step.scope
    return None


def _is_handed_on(step: Step) -> bool:
    """Whether an expression hands the values on in their order, as far as samples are concerned."""
    value = step.value
    if isinstance(value, ast.Subscript):
        one = isinstance(value.slice, ast.Constant) and isinstance(value.slice.value, int)  # of several that a call returns
        return one or step.scope.name == "__getitem__"
    return not step.works or isinstance(value, ast.BinOp) or (isinstance(value, ast.Call) and called(value) in _KEEPS | _CONVERTS)


def _sets_part(step: Step) -> bool:
    """Whether an expression is what a part of a table is set to, and not the table."""
    assigns = (n for n in own_nodes(step.scope.body) if isinstance(n, ast.Assign) and n.value is step.value)
    return any(isinstance(target, ast.Subscript) for n in assigns for target in n.targets)


def _rows(value: ast.expr, scope: Scope, depth: int) -> _Rows:
    """The rows of an expression, which is a table of its own where the source tells no more."""
    written = f"{scope.filename}:{value.lineno} {ast.dump(value)}"
    alone = _Rows(written)
    if depth == 0:
        return alone
    if isinstance(value, ast.Name):
        set_to = _whole(value, scope)
        return _rows(set_to, scope, depth - 1) if set_to is not None else _Rows(f"{scope.filename} {scope.name} {value.id}")
    if isinstance(value, ast.Attribute):
        return _rows(value.value, scope, depth - 1) if value.attr == "values" or isinstance(value.value, ast.Name) else alone
    if isinstance(value, ast.Subscript):
        return _rows(value.value, scope, depth - 1) if _is_columns(value, scope) else alone
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return alone
    name, of, line = called(value), value.func.value, value.func.end_lineno or value.lineno
    settings = {k.arg: k.value for k in value.keywords}
    if name in _ONE_OF_EACH and (group := _group(of)) is not None and isinstance(group.func, ast.Attribute):
        rows, key = _rows(group.func.value, scope, depth - 1), _key(group, "by")
        unsorted = any(k.arg == "sort" and getattr(k.value, "value", True) is False for k in group.keywords)
        return replace(rows, each=key, order=rows.order if unsorted else f"{key} sorted", line=line) if key and not rows.each else alone
    rows = _rows(of, scope, depth - 1)
    if name == "drop_duplicates" and (key := _key(value, "subset")) and not rows.each and "keep" not in settings:
        return replace(rows, each=key, line=line)
    if name == "sort_values" and (key := _key(value, "by")):
        return replace(rows, order=f"{key} sorted" + (f" {ast.dump(settings['ascending'])}" if "ascending" in settings else ""), line=line)
    if name == "sample" and isinstance(frac := settings.get("frac"), ast.Constant) and frac.value == 1:
        return replace(rows, order=f"drawn {written}", line=line)
    return rows if name in _KEEPS else alone


def _is_columns(value: ast.Subscript, scope: Scope) -> bool:
    """Whether columns are picked, by their names, and not rows."""
    names: ast.expr | None = value.slice
    if isinstance(names, ast.Name):
        tree = source_tree(scope.filename)
        names = _whole(names, scope) or (set_last(Scope(scope.filename, tree), names, None) if tree is not None else None)
    if isinstance(names, ast.Constant):
        return isinstance(names.value, str)
    if isinstance(names, ast.List | ast.Tuple):
        return all(
            isinstance(one, ast.Constant | ast.Starred) and isinstance(getattr(one, "value", None), str | ast.expr) for one in names.elts
        )
    return names is not None and any(isinstance(n, ast.Attribute) and n.attr == "columns" for n in ast.walk(names))


def _group(value: ast.expr) -> ast.Call | None:
    """The ``groupby()`` call that columns are picked from."""
    while isinstance(value, ast.Subscript | ast.Attribute):
        value = value.value
    return value if isinstance(value, ast.Call) and called(value) == "groupby" else None


def _key(call: ast.Call, word: str) -> str:
    """What rows are told apart, or sorted, by; a list of one is its only item."""
    given = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == word), None)
    if isinstance(given, ast.List) and len(given.elts) == 1:
        given = given.elts[0]
    return ast.dump(given) if given is not None else ""


def _whole(name: ast.Name, scope: Scope) -> ast.expr | None:
    """What a variable was last set to above its line, its parts not counted."""
    before: int | None = name.lineno
    while (found := set_last(scope, name, before)) is not None:
        assigns = [n for n in own_nodes(scope.body) if isinstance(n, ast.Assign) and n.value is found]
        if not any(isinstance(target, ast.Subscript) for n in assigns for target in n.targets):
            return found
        before = found.lineno
    return None


def _moves_in_place(filename: str) -> bool:
    """Whether a file moves rows of some table in place, which is not followed."""
    tree = source_tree(filename)
    calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call)) if tree is not None else ()
    return any(called(n) in _MOVES and any(k.arg == "inplace" for k in n.keywords) for n in calls)
