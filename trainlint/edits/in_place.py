"""Edits of operations that work in place on what is still needed as it was."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Script, Statement, Unsure
from trainlint.finding import Json

__all__ = ["not_in_place"]


def not_in_place(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Make the result of an operation anew: ``x -= m`` becomes ``x = x - m``, ``x.sub_(m)`` ``x = x.sub(m)``, ``inplace=True`` is False.

    A part of ``x`` that is set, ``x[...] = 0``, is set in a copy by the method ``values["copy"]``, where the function returns ``x``.
    """
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    if isinstance(part, cst.AugAssign):
        return _written_out(script, part)
    if isinstance(part, cst.Assign) and "copy" in values:
        return _in_a_copy(script, part, place, str(values["copy"]))
    flags = [a for c in script.calls(line) for a in c.args if a.keyword is not None and a.keyword.value == "inplace"]
    if len(flags) == 1 and script.code(flags[0].value) == "True" and not isinstance(part, cst.Expr):
        return Changes(script).replace(flags[0].value, cst.Name("False"))
    calls = [c for c in script.calls(line) if isinstance(c.func, cst.Attribute) and _is_in_place(c.func.attr.value)]
    if not calls or part is None:
        raise Unsure("the line does not change anything in a way that is known")
    changes = Changes(script)
    for call in calls:
        func = cst.ensure_type(call.func, cst.Attribute)
        changes.replace(func.attr, cst.Name(func.attr.value.rstrip("_")))
    if isinstance(part, cst.Expr):
        held = _changed(script, part.value)
        changes.rework(part, lambda new: cst.Assign([cst.AssignTarget(held)], new.value))
    return changes


def _is_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name != "requires_grad_"


def _written_out(script: Script, part: cst.AugAssign) -> Changes:
    """``x -= m`` as ``x = x - m``."""
    if not isinstance(part.target, cst.Name):
        raise Unsure("it is no variable of its own that the line changes")
    operator = getattr(cst, type(part.operator).__name__.removesuffix("Assign"), None)
    if operator is None:
        raise Unsure("the line changes in a way that is not known")
    target = part.target

    def anew(new: cst.AugAssign) -> cst.Assign:
        value = new.value
        if isinstance(value, (cst.BinaryOperation, cst.IfExp, cst.Lambda, cst.BooleanOperation, cst.Comparison)) and not value.lpar:
            value = value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return cst.Assign([cst.AssignTarget(target)], cst.BinaryOperation(target, operator(), value))

    return Changes(script).rework(part, anew)


def _in_a_copy(script: Script, part: cst.Assign, place: Statement, method: str) -> Changes:
    """``x = x.clone()`` before a statement that sets a part of x."""
    target = part.targets[0].target
    held = target.value if isinstance(target, cst.Subscript) else None
    function = script.function(place)
    if len(part.targets) != 1 or not isinstance(held, cst.Name) or function is None:
        raise Unsure("it is no part of a variable of its own that the line sets")
    returned = [n for r in script.own(cst.Return, function) if r.value is not None for n in script.all(cst.Name, r.value)]
    if held.value not in {n.value for n in returned}:
        raise Unsure("the function does not return what it changes")
    sets = [script.statement_of(n) for n in script.own(cst.Assign, function) if _sets_part_of(n, held.value)]
    first = next((one for one in sets if one in script.siblings(place)), place)  # what is set before would be written through
    return Changes(script).before(first, f"{held.value} = {held.value}.{method}()")


def _sets_part_of(node: cst.Assign, name: str) -> bool:
    target = node.targets[0].target
    return isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name) and target.value.value == name


def _changed(script: Script, node: cst.BaseExpression) -> cst.Name:
    """The variable that a chain of calls begins with."""
    while isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        node = node.func.value
    if not isinstance(node, cst.Name):
        raise Unsure("it is no variable of its own that the line changes")
    return node
