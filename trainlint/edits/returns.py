"""Edits of what a function hands back."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["return_loss"]


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
