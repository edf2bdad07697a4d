"""The way of a value back through the user's source: variables, arguments, attributes of self, functions and datasets of the same file.

Nothing is run; where the source does not tell, the way ends.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from trainlint.probes.source.scopes import Function, Scope, bound, called, calls_at, own_nodes, owner_of, parameters, scope_at, set_last
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording
from trainlint.record.seen import Loader

__all__ = ["Step", "way_of", "way_of_loader"]

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
class Step:
    """One expression on a way."""

    value: ast.expr
    scope: Scope
    """That the expression is written in."""
    place: Place
    works: bool
    """A value is worked out there, and not only handed on."""
    within: bool
    """It is in a function or dataset that the way goes into by a call."""
    beyond: bool
    """It is on the way of what the value is worked out from, and only tells what both parts share."""


def way_of(value: ast.expr, scope: Scope) -> list[Step]:
    """The way of an expression's value, that written first."""
    steps: list[Step] = []
    _follow(value, scope, None, steps)
    return steps


def way_of_loader(recording: Recording, entry: Loader, path: str) -> list[Step]:
    """The way of what a loader's samples hold at ``path``; empty where it ends before that."""
    if entry.place is None or not recording.frames.is_user(entry.place[0]):
        return []
    scope = scope_at(entry.place, entry.callers)
    calls = [c for c in calls_at(scope, entry.place[1]) if called(c).endswith("DataLoader")] if scope is not None else []
    alike = [one for one in recording.loaders if one.place == entry.place]
    call = calls[0] if len(calls) == 1 else calls[alike.index(entry)] if len(calls) == len(alike) else None
    if call is None or scope is None:
        return []
    alike = [one for one in alike if one.callers[:1] == entry.callers[:1]]
    scope.turn = (alike.index(entry), len(alike)) if entry in alike else (0, 1)
    steps: list[Step] = []
    return steps if _follow(call, scope, path, steps) else []


def _follow(value: ast.expr, scope: Scope, path: str | None, steps: list[Step]) -> bool:
    """Go back from an expression; ``path`` is the place of the wanted value in a sample, None where the expression is the value itself.

    False when the way ends before that.
    """
    beyond = False
    while len(steps) < _STEPS:
        within = bool(scope.arguments or scope.built)
        steps.append(Step(value, scope, (scope.filename, value.lineno, scope.name), path is None and _works(value), within, beyond))
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
        owner = value.func.value if isinstance(value.func, ast.Attribute) else None
        return owner if owner is not None and all(isinstance(a, ast.Constant) for a in value.args) else next(iter(value.args), None)
    return value.value if isinstance(value, ast.Attribute) and _encodes(value) else None


def _before(value: ast.expr, scope: Scope, path: str | None) -> Wanted | None:
    """What an expression takes its value from, the scope of that, and what is wanted of it."""
    if isinstance(value, ast.Name | ast.Attribute):
        return _assigned(value, scope, path) if not _encodes(value) else None
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


def _item(held: ast.expr, place: ast.expr, scope: Scope, path: str | None) -> Wanted | None:
    """One of several values: as they are written out, as a function of the same file returns them, or as a table was split.

    Of several returns, the last that works it out.
    """
    if not isinstance(place, ast.Constant) or not isinstance(place.value, int):
        return None
    for _ in range(_STEPS):
        if isinstance(held, ast.Subscript):
            found = _item(held.value, held.slice, scope, path)
        else:
            found = _assigned(held, scope, None) if isinstance(held, ast.Name | ast.Attribute) else None
        if found is None:
            break
        held, scope, _ = found
    if isinstance(held, ast.Tuple | ast.List):
        return (held.elts[place.value], scope, path) if -len(held.elts) <= place.value < len(held.elts) else None
    tree = source_tree(scope.filename)
    if tree is None or not isinstance(held, ast.Call):
        return None
    if called(held) == "train_test_split" and 0 <= place.value < 2 * len(held.args):
        return held.args[place.value // 2], scope, path
    function = next((f for f in tree.body if isinstance(f, Function) and f.name == called(held)), None)
    returns = [n.value for n in own_nodes(function) if isinstance(n, ast.Return) and n.value is not None] if function is not None else []
    items = [r.elts[place.value] for r in returns if isinstance(r, ast.Tuple) and -len(r.elts) <= place.value < len(r.elts)]
    if function is None or not items:
        return None
    chosen = max(items, key=lambda item: (_works(item), item.lineno))
    return chosen, Scope(scope.filename, function, arguments=bound(held, function, scope)), path


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
        owner = owner_of(scope)
        name = owner.name if owner is not None and scope.body.name == "__init__" else scope.body.name
        callers = scope.callers or _only_caller(scope.filename, name)
        outer_scope = scope_at(callers[0], callers[1:]) if callers else None
        calls = [c for c in calls_at(outer_scope, callers[0][1]) if called(c) == name] if outer_scope is not None else []
        turn, turns = scope.turn
        if outer_scope is None or len(calls) not in (1, turns):
            return None
        handed = bound(calls[turn if len(calls) == turns else 0], scope.body, outer_scope, method=owner is not None).get(value.id)
        return (*handed, path) if handed is not None else None
    tree = source_tree(scope.filename)
    module = Scope(scope.filename, tree) if tree is not None else None
    found = set_last(module, value, None) if module is not None else None
    return (found, module, path) if found is not None and module is not None else None


def _only_caller(filename: str, name: str) -> list[Place]:
    """The line of the one call by this name in a file."""
    tree = source_tree(filename)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) == name] if tree is not None else []
    return [(filename, calls[0].lineno, "")] if len(calls) == 1 else []


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
    if _encodes(value):
        return True
    return not isinstance(value, ast.Name | ast.Attribute | ast.Subscript)


def _encodes(value: ast.expr) -> bool:
    """Whether it numbers the categories that a column has: ``.cat.codes``, ``Categorical(…).codes``."""
    of = value.value if isinstance(value, ast.Attribute) and value.attr == "codes" else None
    return isinstance(of, ast.Call) or (isinstance(of, ast.Attribute) and of.attr == "cat")
