"""Edit of a loss whose inputs are blended, as mixup does, and whose targets are not."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, operand
from trainlint.edits.loss import loss_call
from trainlint.edits.script import Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["mix_losses"]


def mix_losses(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Weigh the losses for both labels of a blended input, as the input was blended in the same function."""
    call = loss_call(script, line, str(values["loss"]))
    first, second = argument(call, "input", 0), argument(call, "target", 1)
    if first is None or second is None or not isinstance(first.value, (cst.Name, cst.Attribute)):
        raise Unsure("the prediction has no name, and would be computed twice")
    handed = _handed_pair(script, call, script.code(second.value))
    if handed is not None:
        return Changes(script).replace(call, _weighed(script, call, second.value, *handed))
    found: set[tuple[str, str]] = set()
    for total in script.own(cst.BinaryOperation, script.scope(call)):
        if isinstance(total.operator, cst.Add):
            found |= set(filter(None, (_blend(script, total.left, total.right), _blend(script, total.right, total.left))))
    if len(found) != 1:
        raise Unsure("it is not clear how the inputs are blended")
    weight, order = found.pop()
    target = script.code(operand(second.value))
    scope = script.scope(call)
    others = [
        dotted(a.targets[0].target)
        for a in script.own(cst.Assign, scope)
        if isinstance(a.value, cst.Subscript)
        and script.code(a.value).endswith(f"[{order}]")
        and dotted(a.targets[0].target)
        and "target" in dotted(a.targets[0].target)
    ]
    other = others[0] if len(others) == 1 and others[0] != target else _mixed_target(script, scope, target, order)
    return Changes(script).replace(call, _weighed(script, call, second.value, weight, other))


def _weighed(script: Script, call: cst.Call, target: cst.BaseExpression, weight: str, other: str) -> cst.BaseExpression:
    """``lam * loss(out, a) + (1 - lam) * loss(out, b)``, in parentheses where more is done to it."""
    second = script.code(call.deep_replace(target, expression(other)))
    new = expression(f"{weight} * {script.code(call)} + (1 - {weight}) * {second}")
    parent = next(script.ancestors(call))
    return new if isinstance(parent, (cst.Assign, cst.Return)) else operand(new)


def _handed_pair(script: Script, call: cst.Call, target: str) -> tuple[str, str] | None:
    """``(lam, target_b)`` where a function that mixes hands them over together with ``target_a``, the loss's target."""
    for assign in script.own(cst.Assign, script.scope(call)):
        names = assign.targets[0].target
        if not isinstance(names, cst.Tuple) or not isinstance(assign.value, cst.Call):
            continue
        words = [dotted(e.value) for e in names.elements]
        weights = [w for w in words if w.startswith("lam")]
        others = [w for w in words if w != target and len(w) == len(target) > 1 and w[:-1] == target[:-1]]
        if target in words and len(weights) == 1 and len(others) == 1:
            return weights[0], others[0]
    return None


def _mixed_target(script: Script, scope: cst.FunctionDef | cst.Module, target: str, order: str) -> str:
    """The other label: a name of a tuple assignment of ``y, y[order]``, else the target in the other order."""
    for assign in script.own(cst.Assign, scope):
        names, parts = assign.targets[0].target, assign.value
        if isinstance(names, cst.Tuple) and isinstance(parts, cst.Tuple) and len(names.elements) == len(parts.elements):
            for name, part in zip(names.elements, parts.elements, strict=True):
                if script.code(part.value).endswith(f"[{order}]") and "target" in script.code(name.value):
                    return script.code(name.value)
    return f"{target}[{order}]"


def _blend(script: Script, one: cst.BaseExpression, two: cst.BaseExpression) -> tuple[str, str] | None:
    """``(lam, order)`` of ``lam * x + (1 - lam) * x[order]``."""
    if not (isinstance(one, cst.BinaryOperation) and isinstance(two, cst.BinaryOperation)):
        return None
    if not (isinstance(one.operator, cst.Multiply) and isinstance(two.operator, cst.Multiply)):
        return None
    for weight, kept in ((one.left, one.right), (one.right, one.left)):
        for rest, other in ((two.left, two.right), (two.right, two.left)):
            if not (isinstance(weight, (cst.Name, cst.Attribute)) and isinstance(other, cst.Subscript)):
                continue
            same = script.code(other.value) == script.code(kept)
            if same and script.code(rest).strip("() ").replace(" ", "") in (f"1-{script.code(weight)}", f"1.0-{script.code(weight)}"):
                return script.code(weight), ", ".join(script.code(e.slice) for e in other.slice)
    return None
