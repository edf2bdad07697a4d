"""Finds the line that makes the labels of one part and not of the other, by following both back from their loaders through the source.

What a loader reads is followed through variables, arguments, attributes of self, and functions and datasets of the same file. Nothing is
run; where the source does not tell, the way ends.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from trainlint.probes.source.scopes import Function, Scope, bound, called, calls_at, own_nodes, owner_of, parameters, scope_at, set_last
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["made_apart"]

#: Steps that a way back may have.
_STEPS = 40
#: Calls that give values another type or form, and calls that look them up in a table.
_CONVERSIONS = frozenset({
    "FloatTensor", "LongTensor", "Tensor", "array", "as_tensor", "asarray", "astype", "clone", "contiguous", "copy", "float", "flatten",
    "from_numpy", "int", "item", "list", "long", "numpy", "ravel", "reset_index", "reshape", "squeeze", "tensor", "to", "to_list", "to_numpy",
    "tolist", "tuple", "unsqueeze", "view",
})  # fmt: skip
_LOOKED_UP = frozenset({"map", "replace", "get"})
_MODULES = frozenset({"np", "numpy", "torch", "pd"})

Wanted = tuple[ast.expr, Scope, str | None]
"""An expression, the scope that it is written in, and the place of the wanted value in a sample; see :func:`_follow`."""


@dataclass(frozen=True)
class _Step:
    place: Place
    works: bool
    """A value is worked out there, and not only handed on."""
    within: bool
    """It is in a function or dataset that the way goes into by a call."""
    beyond: bool
    """It is on the way of what the value is worked out from, and only tells what both parts share."""


def made_apart(recording: Recording, train: tuple[Loader, str], val: tuple[Loader, str]) -> Place | None:
    """The last line on the way back from the validation labels that is not on the way from those of training.

    Where validation only hands on what it has, and training works its labels out on a line of its own, that one. Where a function or
    dataset that both go through works them out, for each part by itself, its line.
    """
    ways = [_way(recording, entry, path) for entry, path in (train, val)]
    if not all(ways):
        return None
    lines = [{step.place[:2] for step in way} for way in ways]
    mine, theirs = ([s for s in way if not s.beyond] for way in ways)
    if (last := theirs[-1]).works and last.within and last.place[:2] in lines[0]:
        return last.place
    mine, theirs = [s for s in mine if s.place[:2] not in lines[1]], [s for s in theirs if s.place[:2] not in lines[0]]
    chosen = mine if any(s.works for s in mine) and not any(s.works for s in theirs) else theirs
    return chosen[-1].place if chosen else None


def _way(recording: Recording, entry: Loader, path: str) -> list[_Step]:
    if entry.place is None or not recording.frames.is_user(entry.place[0]):
        return []
    scope = scope_at(entry.place, entry.callers)
    calls = [c for c in calls_at(scope, entry.place[1]) if called(c).endswith("DataLoader")] if scope is not None else []
    alike = [one for one in recording.loaders if one.place == entry.place]
    call = calls[0] if len(calls) == 1 else calls[alike.index(entry)] if len(calls) == len(alike) else None
    if call is None or scope is None:
        return []
    steps: list[_Step] = []
    return steps if _follow(call, scope, path, steps) else []


def _follow(value: ast.expr, scope: Scope, path: str | None, steps: list[_Step]) -> bool:
    """Go back from an expression; ``path`` is the place of the wanted value in a sample, None where the expression is the value itself.

    False when the way ends before that.
    """
    beyond = False
    while len(steps) < _STEPS:
        within = bool(scope.arguments or scope.built)
        steps.append(_Step((scope.filename, value.lineno, scope.name), path is None and _works(value), within, beyond))
        following = _before(value, scope, path)
        if following is None and path is None and (operand := _operand(value)) is not None:
            following, beyond = (operand, scope, None), True
        if following is None:
            break
        value, scope, path = following
    return path is None


def _operand(value: ast.expr) -> ast.expr | None:
    """The first of what a value is worked out from."""
    if isinstance(value, ast.BinOp):
        return value.right if isinstance(value.left, ast.Constant) else value.left
    if isinstance(value, ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp):
        return value.generators[0].iter
    if isinstance(value, ast.Call):
        return value.args[0] if value.args else value.func.value if isinstance(value.func, ast.Attribute) else None
    return None


def _before(value: ast.expr, scope: Scope, path: str | None) -> Wanted | None:
    """What an expression takes its value from, the scope of that, and what is wanted of it."""
    if isinstance(value, ast.Name | ast.Attribute):
        return _assigned(value, scope, path)
    if isinstance(value, ast.Subscript):
        item = _item(value.value, value.slice, scope, path)
        return item or ((value.value, scope, path) if path is None else None)
    if isinstance(value, ast.ListComp | ast.GeneratorExp):
        return (value.elt, scope, path) if isinstance(value.elt, ast.Subscript | ast.Call) else None
    if not isinstance(value, ast.Call):
        return None
    name, first = called(value), value.args[0] if value.args else None
    if path is not None and name.endswith("DataLoader"):
        given = first or next((k.value for k in value.keywords if k.arg == "dataset"), None)
        return (given, scope, path) if given is not None else None
    if path is not None and name == "TensorDataset":
        place = path.strip("[]")
        return (value.args[int(place)], scope, None) if place.isdigit() and int(place) < len(value.args) else None
    if path is not None and name == "Subset":
        return (first, scope, path) if first is not None else None
    if path is None and name in _CONVERSIONS:
        method = isinstance(value.func, ast.Attribute) and not (isinstance(value.func.value, ast.Name) and value.func.value.id in _MODULES)
        source = value.func.value if method and isinstance(value.func, ast.Attribute) else first
        return (source, scope, None) if source is not None else None
    if path is None and name in _LOOKED_UP:
        table = value.func.value if name == "get" and isinstance(value.func, ast.Attribute) else first
        return (table, scope, None) if isinstance(table, ast.Name | ast.Attribute) else None
    return _inside(value, name, scope, path)


def _inside(call: ast.Call, name: str, scope: Scope, path: str | None) -> Wanted | None:
    """Go into a function of the same file, or the way of a sample through a dataset of the same file."""
    tree = source_tree(scope.filename)
    for node in tree.body if tree is not None else ():
        if isinstance(node, Function) and node.name == name and path is not None:
            inner = Scope(scope.filename, node, arguments=bound(call, node, scope))
            return _returned(node, inner, path)
        if isinstance(node, ast.ClassDef) and node.name == name and path is not None:
            methods = {f.name: f for f in node.body if isinstance(f, Function)}
            reader, init = methods.get("__getitem__"), methods.get("__init__")
            if reader is None or init is None:
                return None
            given = bound(call, init, scope, method=True)
            found = _returned(reader, Scope(scope.filename, reader, node, built=given), None)
            part = _part(found[0], path) if found is not None else None
            return (part, found[1], None) if part is not None and found is not None else None
    return None


def _item(call: ast.expr, place: ast.expr, scope: Scope, path: str | None) -> Wanted | None:
    """One of the values that a function of the same file returns; of several returns, the last that works it out."""
    tree = source_tree(scope.filename)
    if tree is None or not isinstance(call, ast.Call) or not isinstance(place, ast.Constant) or not isinstance(place.value, int):
        return None
    function = next((f for f in tree.body if isinstance(f, Function) and f.name == called(call)), None)
    returns = [n.value for n in own_nodes(function) if isinstance(n, ast.Return) and n.value is not None] if function is not None else []
    items = [r.elts[place.value] for r in returns if isinstance(r, ast.Tuple) and -len(r.elts) <= place.value < len(r.elts)]
    if function is None or not items:
        return None
    chosen = max(items, key=lambda item: (_works(item), item.lineno))
    return chosen, Scope(scope.filename, function, arguments=bound(call, function, scope)), path


def _returned(function: Function, scope: Scope, path: str | None) -> Wanted | None:
    returns = [n.value for n in own_nodes(function) if isinstance(n, ast.Return) and n.value is not None]
    return (max(returns, key=lambda n: n.lineno), scope, path) if returns else None


def _assigned(value: ast.Name | ast.Attribute, scope: Scope, path: str | None) -> Wanted | None:
    """What a variable or an attribute of self was set to last, before this line."""
    if isinstance(value, ast.Attribute):
        if not (isinstance(value.value, ast.Name) and value.value.id == "self"):
            return (value.value, scope, path) if path is None else None
        owner = scope.owner or owner_of(scope)
        for function in (f for f in owner.body if isinstance(f, Function)) if owner is not None else ():
            inner = Scope(scope.filename, function, owner, scope.built if function.name == "__init__" else {}, scope.built)
            if (found := set_last(inner, value, None)) is not None:
                return found, inner, path
        return None
    if (found := set_last(scope, value, value.lineno)) is not None:
        return found, scope, path
    if value.id in scope.arguments:
        given, outer = scope.arguments[value.id]
        return given, outer, path
    if isinstance(scope.body, ast.Module):
        return None
    if value.id in {a.arg for a in parameters(scope.body)}:
        outer_scope = scope_at(scope.callers[0], scope.callers[1:]) if scope.callers else None
        calls = [c for c in calls_at(outer_scope, scope.callers[0][1]) if called(c) == scope.body.name] if outer_scope is not None else []
        if len(calls) != 1 or outer_scope is None:
            return None
        handed = bound(calls[0], scope.body, outer_scope, method=owner_of(scope) is not None).get(value.id)
        return (*handed, path) if handed is not None else None
    tree = source_tree(scope.filename)
    module = Scope(scope.filename, tree) if tree is not None else None
    found = set_last(module, value, None) if module is not None else None
    return (found, module, path) if found is not None and module is not None else None


def _part(returned: ast.expr, path: str) -> ast.expr | None:
    place = path.strip("[]")
    if isinstance(returned, ast.Tuple | ast.List):
        return returned.elts[int(place)] if place.isdigit() and int(place) < len(returned.elts) else None
    if isinstance(returned, ast.Dict):
        pairs = zip(returned.keys, returned.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and path.startswith(f"[{k.value!r}]")), None)
    return None


def _works(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return called(value) not in _CONVERSIONS
    return not isinstance(value, ast.Name | ast.Attribute | ast.Subscript)
