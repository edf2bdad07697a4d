"""Edits of the training loop: clear, backward, clip and step in their order."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, expression, operand
from trainlint.edits.script import Scope, Script, Statement, Unsure, dotted
from trainlint.finding import Json

__all__ = [
    "clear",
    "clear_after_step",
    "clip_before_step",
    "go_backward",
    "is_schedule",
    "keep_value",
    "optimizer_steps",
    "reorder",
    "scaler_step",
    "set_clip",
    "step",
    "unscale",
]

_BACKWARD = ("backward", "manual_backward")
_CLIPS = ("clip_grad_norm_", "clip_grad_value_", "clip_gradients", "unscale_")


def _holds(script: Script, node: cst.CSTNode, *names: str) -> bool:
    """Whether a statement calls one of these methods or functions."""
    return any(script.last(c) in names for c in script.all(cst.Call, node))


def _step(script: Script, line: int) -> tuple[Statement, str]:
    """The statement that takes the step at a line, and its optimizer."""
    for call in script.calls(line):
        if script.last(call) == "step":
            return script.statement_of(call), _stepped(script, call)
    raise Unsure("the line does not call step()")


def _stepped(script: Script, call: cst.Call) -> str:
    """The optimizer of a step: what is called, or handed to the gradient scaler."""
    receiver = script.receiver(call)
    owner = dotted(receiver) if receiver is not None else ""
    handed = dotted(call.args[0].value) if call.args and call.args[0].keyword is None else ""
    name = handed if handed and "scaler" in owner.lower() else owner
    if not name:
        raise Unsure("the optimizer that steps has no name")
    return name


def _is_step(script: Script, node: cst.CSTNode, optimizer: str) -> bool:
    """Whether a statement without a block steps this optimizer."""
    if not isinstance(node, cst.SimpleStatementLine):
        return False
    return any(script.last(c) == "step" and optimizer in (script.name(c)[: -len(".step")], _handed(c)) for c in script.all(cst.Call, node))


def _handed(call: cst.Call) -> str:
    return dotted(call.args[0].value) if call.args else ""


def clear(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Clear the gradients once a step: before its backward(), or after it where backward() is called more often."""
    place, optimizer = _step(script, line)
    new = f"{optimizer}.zero_grad()"
    calls = [c for c in script.own(cst.Call, script.scope(place)) if script.last(c) in _BACKWARD]
    once = len(calls) == 1 and script.around(calls[0], cst.For) is script.around(place, cst.For)
    if once and script.line(calls[0]) < script.line(place) and (values.get("batches") == 1 or _beside(script, calls[0], place)):
        return Changes(script).before(script.statement_of(calls[0]), new)
    return Changes(script).after(place, new)


def _beside(script: Script, call: cst.Call, place: Statement) -> bool:
    """Whether a call and a statement stand in one block, so that each run of the one is followed by the other."""
    return script.block(script.statement_of(call)) is script.block(place)


def reorder(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Put clear before backward() and step after it and after clipping, where all stand in one block."""
    stepping = [c for c in script.calls(line) if script.last(c) == "step"]
    if stepping:
        place = script.statement(line)
    else:
        near = [s for s in script.siblings(script.statement(line)) if isinstance(s, cst.SimpleStatementLine) and _holds(script, s, "step")]
        near = [s for s in near if not _schedules(script, s)]
        if len(near) != 1:
            raise Unsure("the optimizer's step does not stand beside it")
        place = near[0]
    block = list(script.siblings(place))
    at = block.index(place)
    back = [s for s in block if _holds(script, s, *_BACKWARD)]
    if len(back) != 1 or not isinstance(back[0], cst.SimpleStatementLine):
        raise Unsure("backward() does not stand once in the block of the step")
    backward, i = back[0], block.index(back[0])
    clears = [s for s in block if isinstance(s, cst.SimpleStatementLine) and _holds(script, s, "zero_grad") and s is not place]
    changes = Changes(script)
    if at < i:
        last = next((s for s in reversed(block[i:]) if _holds(script, s, *_CLIPS) and isinstance(s, cst.SimpleStatementLine)), backward)
        tail = []
        for s in block[at + 1 : i]:
            if not (isinstance(s, cst.SimpleStatementLine) and _holds(script, s, "step", "update")):
                break
            tail.append(s)
        for s in (place, *tail):
            changes.move(s, after=last)
    for s in clears:
        if at < i or block.index(s) > i:
            changes.move(s, before=backward)
    if not changes:
        raise Unsure("step, backward and zero_grad stand in their order in this block")
    return changes


def is_schedule(script: Script, call: cst.Call) -> bool:
    """Whether a step() is that of what is called a scheduler, or is built as one."""
    owner = script.name(call).rpartition(".")[0]
    if script.last(call) != "step" or not owner:
        return False
    built = {script.last(v) for v in script.assigned(owner) if isinstance(v, cst.Call)}
    return "sched" in owner.lower() or any(b.endswith(("LR", "LROnPlateau", "WarmRestarts", "Scheduler")) or "schedule" in b for b in built)


def optimizer_steps(script: Script, scope: Scope) -> list[cst.SimpleStatementLine]:
    """Statements of a scope that step an optimizer, not a schedule."""
    found = []
    for line in script.own(cst.SimpleStatementLine, scope):
        steps = [c for c in script.all(cst.Call, line) if script.last(c) == "step"]
        if steps and not any(is_schedule(script, c) for c in steps):
            found.append(line)
    return found


def _schedules(script: Script, node: cst.CSTNode) -> bool:
    """Whether a statement steps a schedule."""
    return any(is_schedule(script, c) for c in script.all(cst.Call, node))


def clear_after_step(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Move zero_grad() to where the step is taken, right behind it."""
    place = script.statement(line)
    if not (isinstance(place, cst.SimpleStatementLine) and _holds(script, place, "zero_grad")):
        raise Unsure("the line does not only clear gradients")
    scope = script.scope(place)
    owner = next(script.name(c).rpartition(".")[0] for c in script.all(cst.Call, place) if script.last(c) == "zero_grad")
    clears = [
        c
        for c in script.own(cst.Call, scope)
        if script.last(c) == "zero_grad" and script.around(c, cst.For) is script.around(place, cst.For)
    ]
    steps = [s for s in script.own(cst.SimpleStatementLine, scope) if _holds(script, s, "step") and not _schedules(script, s)]
    mine = [s for s in steps if _is_step(script, s, owner)] or steps
    if len(clears) != 1 or len(mine) != 1:
        raise Unsure("gradients are cleared, or steps taken, at several places")
    block = list(script.siblings(mine[0]))
    if place in block and block.index(place) > block.index(mine[0]):
        raise Unsure("gradients are cleared behind the step already")
    return Changes(script).move(place, after=mine[0])


def clip_before_step(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Move clipping before the step that it follows, or behind the backward() that it comes before."""
    place = script.statement(line)
    block = list(script.siblings(place))
    later = [s for s in block[block.index(place) + 1 :] if isinstance(s, cst.SimpleStatementLine) and _holds(script, s, *_BACKWARD)]
    early = not any(_holds(script, s, *_BACKWARD) for s in block[: block.index(place)])
    if isinstance(place, cst.SimpleStatementLine) and early and len(later) == 1 and not _holds(script, place, "unscale_"):
        return Changes(script).move(place, after=later[0])
    before = [s for s in block[: block.index(place)] if isinstance(s, cst.SimpleStatementLine) and _holds(script, s, "step")]
    before = [s for s in before if not _schedules(script, s)]
    if not isinstance(place, cst.SimpleStatementLine) or len(before) != 1 or _holds(script, before[0], "unscale_"):
        raise Unsure("clipping and the step do not stand in one block")
    return Changes(script).move(place, before=before[0])


def set_clip(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set the norm that gradients are clipped to, where it is a number."""
    call = next((c for c in script.calls(line) if script.last(c) in ("clip_grad_norm_", "clip_grad_norm")), None)
    given = (
        [a for a in call.args if (a.keyword.value == "max_norm" if a.keyword else a is call.args[1])] if call and len(call.args) > 1 else []
    )
    if len(given) != 1 or not isinstance(given[0].value, (cst.Float, cst.Integer)):
        raise Unsure("the norm is not a number on this line")
    return Changes(script).replace(given[0].value, expression(f"{values['norm']}"))


def go_backward(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Call backward() on the loss that was computed before the step."""
    place, _ = _step(script, line)
    block = list(script.siblings(place))
    names = [
        dotted(a.targets[0].target)
        for s in block[: block.index(place)]
        for a in script.all(cst.Assign, s)
        if script.around(a, cst.IndentedBlock) is script.around(place, cst.IndentedBlock)
    ]
    losses = [n for n in names if "loss" in n.lower()]
    if not losses:
        raise Unsure("no loss is computed in the block of the step")
    return Changes(script).before(place, f"{losses[-1]}.backward()")


def step(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Take a step after backward() and clipping, with the optimizer whose gradients are cleared there.

    Where one waits for a number of batches that no epoch has, it is taken at the epoch's last batch as well.
    """
    place = script.statement(line)
    if (waiting := _waiting_step(script, place)) is not None:
        return _at_the_end_too(script, waiting)
    scope = script.scope(place)
    owners = {script.name(c).rpartition(".")[0] for c in script.own(cst.Call, scope) if script.last(c) == "zero_grad"}
    built = {n for n in owners if any("optim" in script.full(v).lower() for v in script.assigned(n) if isinstance(v, cst.Call))}
    names = built or {n for n in owners if "opt" in n.lower()}
    if len(names) != 1:
        raise Unsure("it is not clear which optimizer is to step")
    block = list(script.siblings(place))
    i = block.index(place)
    last = next((s for s in reversed(block[i:]) if _holds(script, s, *_CLIPS) and isinstance(s, cst.SimpleStatementLine)), place)
    if any(_holds(script, s, "zero_grad") for s in block[i : block.index(last)]):
        raise Unsure("gradients are cleared between backward() and where the step belongs")
    return Changes(script).after(last, f"{names.pop()}.step()")


def _waiting_step(script: Script, place: Statement) -> cst.If | None:
    """The condition behind a backward() under which the optimizer steps every so many batches."""
    block = list(script.siblings(place))
    behind = [s for s in block[block.index(place) + 1 :] if isinstance(s, cst.If) and s.orelse is None and _holds(script, s, "step")]
    counting = [s for s in behind if any(isinstance(o.operator, cst.Modulo) for o in script.all(cst.BinaryOperation, s.test))]
    return counting[0] if len(counting) == 1 else None


def _at_the_end_too(script: Script, waiting: cst.If) -> Changes:
    loop = script.around(waiting, cst.For)
    call, target = (loop.iter, loop.target) if loop is not None else (None, None)
    if not (isinstance(call, cst.Call) and script.last(call) == "enumerate" and len(call.args) == 1 and isinstance(target, cst.Tuple)):
        raise Unsure("the loop does not count its batches from 0")
    count, batches = target.elements[0].value, call.args[0].value
    if not isinstance(count, cst.Name) or not isinstance(batches, (cst.Name, cst.Attribute)):
        raise Unsure("the loop's count or loader has no name")
    test = script.code(operand(waiting.test)) if isinstance(waiting.test, cst.BooleanOperation) else script.code(waiting.test)
    return Changes(script).replace(waiting.test, expression(f"{test} or {count.value} + 1 == len({script.code(batches)})"))


def _scaler(script: Script, node: cst.CSTNode) -> str:
    """The gradient scaler that scales the loss in the scope of a node."""
    found = {
        script.name(c).rpartition(".")[0]
        for c in script.own(cst.Call, script.scope(node))
        if script.last(c) == "scale" and len(c.args) == 1
    }
    if len(found) != 1 or "" in found:
        raise Unsure("it is not clear which gradient scaler is meant")
    return found.pop()


def unscale(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Unscale the gradients before they are clipped."""
    place = script.statement(line)
    scaler = _scaler(script, place)
    calls = script.own(cst.Call, script.scope(place))
    handed = {_handed(c) for c in calls if script.name(c) == f"{scaler}.step"}
    late = [script.statement_of(c) for c in calls if script.name(c) == f"{scaler}.unscale_"]
    if late:
        if len(late) == 1 and isinstance(late[0], cst.SimpleStatementLine) and late[0] in script.siblings(place):
            return Changes(script).move(late[0], before=place)
        raise Unsure("the gradients are unscaled elsewhere")
    if len(handed) != 1 or "" in handed:
        raise Unsure("it is not clear which optimizer the scaler steps")
    return Changes(script).before(place, f"{scaler}.unscale_({handed.pop()})")


def scaler_step(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let the scaler take the step."""
    call = next((c for c in script.calls(line) if script.last(c) == "step"), None)
    if call is None or call.args:
        raise Unsure("the line does not take a plain step")
    scaler, place = _scaler(script, call), script.statement_of(call)
    changes = Changes(script).replace(call, expression(f"{scaler}.step({_stepped(script, call)})"))
    if not any(script.name(c) == f"{scaler}.update" for c in script.own(cst.Call, script.scope(call))):
        changes.after(place, f"{scaler}.update()")
    return changes


def keep_value(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Keep the number of a loss, or an output without its graph, where a tensor with its graph is kept."""
    place = script.statement(line)
    method = "item" if values.get("loss") else "detach"
    kept: cst.BaseExpression | None = None
    if isinstance(place, cst.SimpleStatementLine) and isinstance(place.body[0], cst.AugAssign):
        kept = place.body[0].value
    else:
        appended = [c for c in script.calls(line) if script.last(c) == "append" and len(c.args) == 1]
        kept = appended[0].args[0].value if len(appended) == 1 else None
    if not isinstance(kept, (cst.Name, cst.Attribute, cst.Subscript)):
        raise Unsure("it is not clear which value is kept")
    return Changes(script).replace(kept, expression(f"{script.code(kept)}.{method}()"))
