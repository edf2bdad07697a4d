"""Where a number in the user's code is written: followed through names, parameters, options and configuration."""

from __future__ import annotations

import math

import libcst as cst

from trainlint.edits.changes import argument
from trainlint.edits.script import Script, Unsure, dotted

__all__ = ["number_at", "written"]


def number_at(node: cst.BaseExpression) -> float | None:
    """The value of a number that is written out; None for anything else."""
    if isinstance(node, (cst.Integer, cst.Float)):
        return float(node.evaluated_value)
    return None


def written(script: Script, node: cst.BaseExpression, value: float | None, new: str = "") -> cst.BaseExpression:
    """The literal that an expression gets its value from, in the same file.

    Args:
        script: The file.
        node: The expression, such as ``args.lr``.
        value: What it was in the run, where known; tells several candidates apart, and a literal that is something else.

        new: What it should be, for the words to a user who gives it on the command line.

    Raises:
        Unsure: No literal, or not just one, can be the origin; or it is the default of an option that was given another value.
    """
    found: dict[int, cst.BaseExpression] = {}
    _follow(script, node, found, depth=0)
    literals = [n for n in found.values() if value is None or math.isclose(number_at(n) or 0.0, value, rel_tol=1e-6)]
    flag = _flag(script, node, depth=0)
    if flag and (value is None or not literals):
        raise Unsure(f"it {'may come' if value is None else 'comes'} from the command line: pass {flag}{f' {new}' if new else ''}")
    if len(literals) != 1:
        raise Unsure(f"{script.code(node)} is not written as one number in this file")
    return literals[0]


def _follow(script: Script, node: cst.BaseExpression, found: dict[int, cst.BaseExpression], depth: int) -> None:
    if number_at(node) is not None:
        found[id(node)] = node
        return
    if depth > 4:
        return
    for origin in _origins(script, node):
        _follow(script, origin, found, depth + 1)


def _flag(script: Script, node: cst.BaseExpression, depth: int) -> str:
    """The command-line option that gives an expression its value, as ``--lr``; empty where none is made out."""
    if isinstance(node, cst.Attribute):
        for flags, _ in _declared(script, node.attr.value):
            return next((flag for flag in flags if flag.startswith("--")), flags[0])
    if depth > 4:
        return ""
    return next(filter(None, (_flag(script, origin, depth + 1) for origin in _origins(script, node))), "")


def _origins(script: Script, node: cst.BaseExpression) -> list[cst.BaseExpression]:
    """What an expression can have been given its value by."""
    if isinstance(node, cst.Call) and script.last(node) in ("float", "int") and len(node.args) == 1:
        return [node.args[0].value]
    if isinstance(node, cst.Name):
        return _of_name(script, node)
    if isinstance(node, cst.Attribute):
        return [*script.assigned(dotted(node)), *_options(script, node.attr.value), *_fields(script, node.attr.value)]
    if isinstance(node, cst.Subscript) and len(node.slice) == 1:
        return _entries(script, script.code(node.slice[0].slice).strip("\"'"))
    return []


def _of_name(script: Script, node: cst.Name) -> list[cst.BaseExpression]:
    scope = script.scope(node)
    if isinstance(scope, cst.FunctionDef):
        given = [p for p in script.all(cst.Param, scope.params) if p.name.value == node.value]
        if given:
            defaults: list[cst.BaseExpression] = [p.default for p in given if p.default is not None]
            return [*_handed(script, scope, node.value), *defaults]
        local = script.assigned(node.value, scope)
        if local:
            return local
    return script.assigned(node.value, script.module)


def _handed(script: Script, function: cst.FunctionDef, name: str) -> list[cst.BaseExpression]:
    """Arguments that calls of a function hand in for a parameter; a class is called for its ``__init__``."""
    params = [p.name.value for p in (*function.params.posonly_params, *function.params.params)]
    owner = script.around(function, cst.ClassDef)
    called = owner.name.value if owner is not None and function.name.value == "__init__" else function.name.value
    position = params.index(name) - (owner is not None) if name in params else None
    found: list[cst.BaseExpression] = []
    for call in script.all(cst.Call):
        if script.last(call) == called:
            try:
                given = argument(call, name, position)
            except Unsure:
                continue
            if given is not None:
                found.append(given.value)
    return found


def _options(script: Script, name: str) -> list[cst.BaseExpression]:
    """Defaults of command-line options that argparse stores under a name."""
    return [default for _, default in _declared(script, name) if default is not None]


def _declared(script: Script, name: str) -> list[tuple[list[str], cst.BaseExpression | None]]:
    """``(flags, default)`` of the command-line options that are stored under a name."""
    found: list[tuple[list[str], cst.BaseExpression | None]] = []
    for call in script.all(cst.Call):
        if script.last(call) in ("add_argument", "option") and call.args:
            flags = [script.code(a.value).strip("\"'") for a in call.args if a.keyword is None]
            default = next((a.value for a in call.args if a.keyword is not None and a.keyword.value == "default"), None)
            if name in [flag.lstrip("-").replace("-", "_") for flag in flags]:
                found.append((flags, default))
    return found


def _fields(script: Script, name: str) -> list[cst.BaseExpression]:
    """Values of a class's fields of a name, and keywords of ``Namespace(lr=…)`` or of the class itself."""
    found: list[cst.BaseExpression] = []
    for owner in script.all(cst.ClassDef):
        for line in owner.body.body if isinstance(owner.body, cst.IndentedBlock) else ():
            for part in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                if isinstance(part, cst.AnnAssign):
                    found += [part.value] if dotted(part.target) == name and part.value is not None else []
                elif isinstance(part, cst.Assign):
                    found += [part.value] if dotted(part.targets[0].target) == name else []
    for call in script.all(cst.Call):
        if script.last(call) in ("Namespace", "SimpleNamespace", "dict", "save_hyperparameters"):
            found += [a.value for a in call.args if a.keyword is not None and a.keyword.value == name]
    return found


def _entries(script: Script, key: str) -> list[cst.BaseExpression]:
    """Values of a key in the dictionaries of the file."""
    return [
        e.value
        for d in script.all(cst.Dict)
        for e in d.elements
        if isinstance(e, cst.DictElement) and script.code(e.key).strip("\"'") == key
    ]
