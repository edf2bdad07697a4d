"""Edits of what a function hands back."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["return_copy", "return_loss"]


def return_copy(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Return a copy of what the attribute ``attribute`` of self holds, made by its method ``method``."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    held, method = f"self.{values['attribute']}", str(values["method"])
    if not isinstance(part, cst.Return):
        raise Unsure("the line returns nothing")
    parts = [e.value for e in part.value.elements] if isinstance(part.value, cst.Tuple) else [part.value]
    found = [n for n in parts if isinstance(n, cst.Attribute) and script.code(n) == held]
    if len(found) != 1:
        raise Unsure("the line does not return the array as it is")
    node = found[0]
    return Changes(script).replace(node, cst.Call(cst.Attribute(node, cst.Name(method))))


def return_loss(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let the function on a line return its loss on every path: at its end as well."""
    place = script.statement(line)
    function = place if isinstance(place, cst.FunctionDef) else script.function(place)
    if function is None or not isinstance(function.body, cst.IndentedBlock) or not function.body.body:
        raise Unsure("the line is in no function")
    last = function.body.body[-1]
    if isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], (cst.Return, cst.Raise)):
        raise Unsure("the function returns at its end already")
    made = {
        target.target.value
        for row in function.body.body
        if isinstance(row, cst.SimpleStatementLine)
        for part in row.body
        if isinstance(part, cst.Assign)
        for target in part.targets
        if isinstance(target.target, cst.Name)
    }
    returned = {r.value.value for r in script.all(cst.Return, function) if isinstance(r.value, cst.Name)}
    names = sorted((made & returned) or {name for name in made if "loss" in name.lower()})
    if len(names) != 1:
        raise Unsure("it is not clear which value is the loss")
    assert isinstance(last, (cst.SimpleStatementLine, cst.BaseCompoundStatement))
    return Changes(script).after(last, f"return {names[0]}")
