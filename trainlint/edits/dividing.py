"""The edit that divides an accumulated loss once: one of two divisions is taken out."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Statement, Unsure, dotted
from trainlint.finding import Json

__all__ = ["divide_once"]


def divide_once(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Take away the loop's own division of what goes to a backward() that divides itself."""
    call = next((c for c in script.calls(line) if script.last(c) in ("backward", "manual_backward")), None)
    if call is None:
        return _undivided(script, script.statement(line))
    handed = call.args[0].value if len(call.args) == 1 else None
    if isinstance(handed, cst.BinaryOperation) and isinstance(handed.operator, cst.Divide):
        return Changes(script).replace(handed, handed.left)
    if not isinstance(handed, cst.Name):
        raise Unsure("it is not clear which value goes to backward()")
    for statement in script.siblings(script.statement_of(call)):
        if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
            continue
        (small,) = statement.body
        if isinstance(small, cst.AugAssign) and isinstance(small.operator, cst.DivideAssign) and dotted(small.target) == handed.value:
            return Changes(script).remove(statement)
        if not isinstance(small, cst.Assign) or [dotted(t.target) for t in small.targets] != [handed.value]:
            continue
        if isinstance(small.value, cst.BinaryOperation) and isinstance(small.value.operator, cst.Divide):
            if dotted(small.value.left) == handed.value:
                return Changes(script).remove(statement)
            return Changes(script).replace(small.value, small.value.left)
    raise Unsure("it is not clear where the loss is divided")


def _undivided(script: Script, place: Statement) -> Changes:
    """Take the one division out of a statement; the statement where it does nothing else."""
    (small,) = place.body if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else (None,)
    if isinstance(small, cst.AugAssign) and isinstance(small.operator, cst.DivideAssign):
        return Changes(script).remove(place)
    divisions = [b for b in script.all(cst.BinaryOperation, place) if isinstance(b.operator, cst.Divide)]
    if not isinstance(small, (cst.Assign, cst.Return)) or len(divisions) != 1 or small.value is not divisions[0]:
        raise Unsure("it is not clear where the loss is divided")
    if isinstance(small, cst.Assign) and [dotted(t.target) for t in small.targets] == [dotted(divisions[0].left)]:
        return Changes(script).remove(place)
    return Changes(script).replace(divisions[0], divisions[0].left)
