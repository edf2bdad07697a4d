"""Edits that let gradients reach parameters: no freezing, no detaching, no gradients switched off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.script import Script, Statement, Unsure, dotted
from trainlint.finding import Json

__all__ = ["allow_gradients", "detach_target", "keep_gradients", "learn_table", "thaw"]


def _freezes(script: Script, node: cst.CSTNode) -> bool:
    """Whether a statement only takes ``requires_grad`` away."""
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1:
        return False
    part = node.body[0]
    if isinstance(part, cst.Expr) and isinstance(part.value, cst.Call):
        args = part.value.args
        return script.last(part.value) == "requires_grad_" and len(args) == 1 and script.code(args[0].value) == "False"
    if isinstance(part, cst.Assign) and len(part.targets) == 1 and isinstance(part.targets[0].target, cst.Attribute):
        return part.targets[0].target.attr.value == "requires_grad" and script.code(part.value) == "False"
    return False


def thaw(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Leave out what freezes parameters: the statement, or the whole loop that does nothing else."""
    place = script.statement(line)
    if isinstance(place, cst.SimpleStatementLine) and not _freezes(script, place):
        raise Unsure("the line does not only freeze parameters")
    function = script.function(place)
    called = sum(script.last(c) == function.name.value for c in script.all(cst.Call)) if function is not None else 0
    if called > 1 and function is not None and function.name.value not in ("__init__", "main", "setup"):
        raise Unsure("the function that freezes is called for several models")
    outer = place
    for node in script.ancestors(place):
        if isinstance(node, (cst.For, cst.If)):
            leaves = [s for s in script.all(cst.SimpleStatementLine, node) if not _freezes(script, s)]
            if leaves or node.orelse is not None:
                break
            outer = node
        elif isinstance(node, (cst.FunctionDef, cst.Module, cst.ClassDef)):
            break
    if not isinstance(outer, (cst.For, cst.SimpleStatementLine)):
        raise Unsure("a condition decides what is frozen")
    return Changes(script).remove(outer)


def learn_table(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Build an embedding from given values without freezing it."""
    calls = [c for c in script.calls(line) if script.last(c) == "from_pretrained" and "Embedding" in script.name(c)]
    if len(calls) != 1:
        raise Unsure("the line does not build just one embedding from given values")
    given = argument(calls[0], "freeze", 1)
    if given is None:
        return Changes(script).rework(calls[0], lambda c: keyword(c, "freeze", "False"))
    if script.code(given.value) != "True":
        raise Unsure("whether it is frozen is not written in the call")
    return Changes(script).replace(given.value, expression("False"))


def keep_gradients(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Leave out what cuts the graph on a line: ``detach()``, ``item()``, or the ``no_grad`` around it; draw with ``rsample()`` in place of ``sample()``."""
    cut = str(values["cut"])
    if cut == "no_grad":
        return _leave_no_grad(script, line)
    if "lines" in values:
        return _leave_detached(script, line, values["lines"])
    calls = [c for c in script.calls(line) if script.last(c) == cut and (cut == "sample" or not c.args) and script.receiver(c) is not None]
    if len(calls) != 1:
        raise Unsure(f"{cut}() does not stand on the line just once")
    receiver = script.receiver(calls[0])
    assert receiver is not None
    if cut == "sample":
        return Changes(script).replace(calls[0], calls[0].with_changes(func=cst.Attribute(receiver, cst.Name("rsample"))))
    changes = Changes(script).replace(calls[0], receiver)
    for earlier in _needed_once_more(script, script.statement(line), calls[0]) if cut == "detach" else ():
        changes.replace(earlier, earlier.with_changes(value=cst.Call(cst.Attribute(earlier.value, cst.Name("detach")))))
    return changes


def _leave_detached(script: Script, line: int, lines: Json) -> Changes:
    """Leave out every ``detach()`` of some lines."""
    given = [int(one) for one in lines if isinstance(one, int)] if isinstance(lines, list) else []
    changes = Changes(script)
    for at in given if len(given) > 1 else [line]:
        calls = [c for c in script.calls(at) if script.last(c) == "detach" and not c.args]
        kept = [(c, script.receiver(c)) for c in calls]
        if not kept or any(receiver is None or script.all(cst.Call, receiver) for _, receiver in kept):
            raise Unsure("the line does more than detach values that have a name")
        for call, receiver in kept:
            assert receiver is not None
            changes.replace(call, receiver)
    return changes


def _needed_once_more(script: Script, place: Statement, cut: cst.Call) -> list[cst.Arg]:
    """Where what was detached is handed on before a first backward(), if it is handed on after that as well.

    The first graph is freed by then: a discriminator learns from detached samples, its generator from the same ones with their graph.
    """
    made = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    if not isinstance(made, cst.Assign) or len(made.targets) != 1 or made.value is not cut:
        return []
    name, rows = made.targets[0].target, list(script.block(place).body)
    behind = rows[rows.index(place) + 1 :]
    first = next((i for i, row in enumerate(behind) if any(script.last(c) == "backward" for c in script.all(cst.Call, row))), None)
    if first is None or not isinstance(name, cst.Name):
        return []

    def handed_on(some: Sequence[cst.CSTNode]) -> list[cst.Arg]:
        return [a for row in some for a in script.all(cst.Arg, row) if isinstance(a.value, cst.Name) and a.value.value == name.value]

    return handed_on(behind[: first + 1]) if handed_on(behind[first + 1 :]) else []


_OFF = ("no_grad", "inference_mode")


def _is_off(script: Script, node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call):
        return script.last(node) in _OFF or (script.last(node) == "set_grad_enabled" and script.code(node.args[0].value) == "False")
    return dotted(node).rpartition(".")[2] in _OFF


def _leave_no_grad(script: Script, line: int) -> Changes:
    place = script.statement(line)
    for node in (place, *script.ancestors(place)):
        if isinstance(node, cst.With) and any(_is_off(script, i.item) for i in node.items):
            if len(node.items) != 1 or not isinstance(node.body, cst.IndentedBlock):
                raise Unsure("the with statement does more than switch gradients off")
            return Changes(script).unwrap(node)
        if isinstance(node, cst.FunctionDef):
            off = [d for d in node.decorators if _is_off(script, d.decorator)]
            if off:
                return Changes(script).rework(node, _without_off(script, node))
            break
    raise Unsure("no no_grad stands around the line")


def _without_off(script: Script, node: cst.FunctionDef) -> Callable[[cst.FunctionDef], cst.FunctionDef]:
    kept = [d for d in node.decorators if not _is_off(script, d.decorator)]
    return lambda updated: updated.with_changes(decorators=kept)


def detach_target(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Detach what a teacher says: the call of the module that its parameters are named after, else all that the line assigns."""
    parameters = values.get("parameters")
    modules = {part for name in parameters for part in str(name).split(".")[:-1]} if isinstance(parameters, list) else set()
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    called: list[cst.BaseExpression] = [c for c in script.calls(line) if script.last(c) in modules]
    if not called and isinstance(part, cst.Assign) and len(part.targets) == 1 and isinstance(part.targets[0].target, cst.Name):
        called = [part.value] if script.all(cst.Call, part.value) else []
    if len(called) != 1:
        raise Unsure("the line does not call just one network")
    return Changes(script).replace(called[0], cst.Call(cst.Attribute(operand(called[0]), cst.Name("detach"))))


def allow_gradients(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Switch gradients off in the function that needs it, not for the whole program."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if not (isinstance(part, cst.Expr) and isinstance(part.value, cst.Call) and script.last(part.value) == "set_grad_enabled"):
        raise Unsure("the line does not only switch gradients off")
    if script.code(part.value.args[0].value) != "False":
        raise Unsure("the line switches gradients by a condition")
    changes = Changes(script).remove(place)
    function = script.function(place)
    if function is not None:
        if any(script.last(c) in ("backward", "step") for c in script.all(cst.Call, function)):
            raise Unsure("the function that switches gradients off trains")
        name = cst.Decorator(cst.parse_expression("torch.no_grad()"))
        changes.import_module("torch").rework(function, lambda f: f.with_changes(decorators=[*f.decorators, name]))
    for line_ in script.all(cst.SimpleStatementLine):
        # What hid the fault: a loss without a graph was told to have one.
        if len(line_.body) == 1 and isinstance(line_.body[0], cst.Assign) and script.code(line_.body[0].value) == "True":
            target = dotted(line_.body[0].targets[0].target)
            if target.endswith(".requires_grad") and "loss" in target.lower():
                changes.remove(line_)
    return changes
