"""Edits of axes: reshapes that were meant to swap two, and a column's last one that is too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from trainlint.edits.changes import Changes, expression, operand
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["drop_column", "swap"]


def swap(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Reshape in the order in which axes lie and transpose after it, or transpose before axes are joined.

    ``places`` holds the line of each reshape, its shape ``before`` and ``after``, the shape with all axes apart (``opened``) and their ``order``.
    """
    changes = Changes(script)
    places: Any = values["places"]
    for place in places:
        at = line if len(places) == 1 else int(place["line"])
        changes.replace(call := _reshape(script, at), _swapped(script, call, place))
    return changes


def _reshape(script: Script, line: int) -> cst.Call:
    """The one reshape of a line, a method with one argument for each size."""
    calls = [c for c in script.calls(line) if script.last(c) in ("view", "reshape", "unflatten", "flatten", "view_as", "reshape_as")]
    if len(calls) != 1:
        raise Unsure("the line does not reshape just one tensor")
    call = calls[0]
    if script.last(call) not in ("view", "reshape") or not isinstance(call.func, cst.Attribute) or script.full(call).startswith("torch."):
        raise Unsure("the tensor is not reshaped by a method of its own with the sizes as arguments")
    if any(a.keyword is not None or a.star for a in call.args):
        raise Unsure("the sizes are not written one by one")
    return call


def _swapped(script: Script, call: cst.Call, place: dict[str, Any]) -> cst.BaseExpression:
    before, after, opened, order = (list(place[key]) for key in ("before", "after", "opened", "order"))
    given = [a.value for a in call.args]
    if len(given) == 1 and isinstance(given[0], (cst.Tuple, cst.List)):
        if any(isinstance(e, cst.StarredElement) for e in given[0].elements):
            raise Unsure("the sizes are not written one by one")
        given = [e.value for e in given[0].elements]
    sizes = [script.code(size) for size in given]
    tensor = script.code(call.func.value) if isinstance(call.func, cst.Attribute) else ""
    if len(sizes) != len(after):
        raise Unsure("the sizes are not written one by one")
    moved = _move(order)
    if opened == before:  # all axes are apart as they are
        if [opened[axis] for axis in order] == after:
            return expression(f"{tensor}{moved}.contiguous()")
        return expression(f"{tensor}{moved}.reshape({', '.join(sizes)})")
    if len(opened) != len(after) or [opened[axis] for axis in order] != after:
        raise Unsure("heads are folded into the batch, or taken out of it, in the same call")
    cut = [sizes[order.index(axis)] for axis in range(len(opened))]
    return expression(f"{tensor}.{script.last(call)}({', '.join(cut)}){moved}")


def _move(order: Sequence[int]) -> str:
    moved = [axis for axis, source in enumerate(order) if axis != source]
    return f".transpose({moved[0]}, {moved[1]})" if len(moved) == 2 else f".permute({', '.join(map(str, order))})"


#: How the arithmetic of two tensors is written.
_OPERATORS: dict[str, type[cst.BaseBinaryOp]] = {
    "add": cst.Add, "sub": cst.Subtract, "mul": cst.Multiply, "div": cst.Divide, "truediv": cst.Divide, "pow": cst.Power,
}  # fmt: skip


def drop_column(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Drop the last axis of the one of two operands that is a column and should not be."""
    kind = _OPERATORS.get(str(values.get("operation")))
    place = script.statement(line)
    if not isinstance(place, cst.SimpleStatementLine):
        raise Unsure("the line is the head of a block")
    found = [o for o in script.all(cst.BinaryOperation, place) if kind is not None and isinstance(o.operator, kind)]
    if len(found) != 1:
        raise Unsure("the operation does not stand on the line just once")
    side = found[0].right if values.get("side") else found[0].left
    return Changes(script).replace(side, expression(f"{script.code(operand(side))}.squeeze(-1)"))
