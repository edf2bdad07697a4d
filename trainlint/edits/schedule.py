"""Edits of learning-rate schedules: how often, in which order, how long, in which direction."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword, operand
from trainlint.edits.loop import is_schedule, optimizer_steps
from trainlint.edits.script import Script, Statement, Unsure, dotted
from trainlint.finding import Json

__all__ = [
    "after_optimizer",
    "as_factor",
    "attach_to",
    "each_epoch",
    "each_step",
    "rebuild_schedule",
    "set_direction",
    "set_horizon",
    "stretch",
    "take_steps",
]


def _built(script: Script, line: int) -> cst.Call:
    """The call that builds the schedule on a line."""
    calls = [c for c in script.calls(line) if script.last(c).endswith(("LR", "LROnPlateau", "WarmRestarts"))]
    if len(calls) != 1:
        raise Unsure("the line does not build just one schedule")
    return calls[0]


def _stepping(script: Script, line: int) -> tuple[cst.SimpleStatementLine, str]:
    """The statement that steps the schedule on a line, and the schedule's name."""
    place = script.statement(line)
    calls = [c for c in script.all(cst.Call, place) if script.last(c) == "step"]
    if not isinstance(place, cst.SimpleStatementLine) or len(calls) != 1 or not script.name(calls[0]):
        raise Unsure("the line does not only step the schedule")
    return place, script.name(calls[0]).rpartition(".")[0]


def set_direction(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set the mode of ReduceLROnPlateau."""
    call, mode = _built(script, line), str(values["mode"])
    given = argument(call, "mode", 1)
    if given is None:
        plain = [a for a in call.args if a.keyword is None]
        if len(plain) == 1 and len(call.args) > 1:
            new = cst.Arg(
                expression(f'"{mode}"'), keyword=cst.Name("mode"), equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
            )
            return Changes(script).rework(
                call, lambda c: c.with_changes(args=[c.args[0], new.with_changes(comma=c.args[0].comma), *c.args[1:]])
            )
        return Changes(script).rework(call, lambda c: keyword(c, "mode", f'"{mode}"'))
    if not isinstance(given.value, cst.SimpleString):
        raise Unsure("the mode is not written in the call")
    quote = given.value.quote
    return Changes(script).replace(given.value, cst.SimpleString(f"{quote}{mode}{quote}"))


#: The argument that is a schedule's length, and its position.
_LENGTHS = {
    "CosineAnnealingLR": ("T_max", 1),
    "LinearLR": ("total_iters", 3),
    "PolynomialLR": ("total_iters", 1),
    "OneCycleLR": ("total_steps", 2),
}


def set_horizon(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Set the length of a schedule to the calls of the whole run."""
    call = _built(script, line)
    name, position = _LENGTHS.get(script.last(call), ("", 0))
    given = argument(call, name, position) if name else None
    if given is None:
        raise Unsure("the length is not written in the call")
    return Changes(script).replace(given.value, expression(str(values["calls"])))


def as_factor(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Divide what the function of a LambdaLR returns by its highest value, so that it is a factor of the optimizer's rate."""
    call = _built(script, line)
    given = argument(call, "lr_lambda", 1) if script.last(call) == "LambdaLR" else None
    if given is None or not isinstance(given.value, cst.Lambda | cst.Name | cst.Attribute):
        raise Unsure("the function is not named in the call")
    function, highest = given.value, values["highest"]
    if isinstance(function, cst.Lambda):
        if len(function.params.params) != 1:
            raise Unsure("the function does not take the step alone")
        step, body = function.params.params[0].name.value, f"({script.code(function.body)})"
    else:
        step, body = "step", f"{script.code(function)}(step)"
    return Changes(script).replace(function, expression(f"lambda {step}: {body} / {highest:g}"))


def stretch(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Divide the length of a schedule by the accumulation, rounded up."""
    call = _built(script, line)
    share = values["share"]
    name, position = _LENGTHS.get(script.last(call), ("", 0))
    given = argument(call, name, position) if name else None
    if given is None and script.last(call) == "OneCycleLR":
        given = argument(call, "steps_per_epoch", 4)
    if given is None:
        raise Unsure("the length is not written in the call")
    return Changes(script).replace(given.value, expression(f"-(-{script.code(operand(given.value))} // {share})"))


def _function_of(script: Script, call: cst.Call) -> cst.FunctionDef | None:
    """The function of this file that a call calls."""
    found = [f for f in script.all(cst.FunctionDef) if f.name.value == script.name(call).removeprefix("self.")]
    return found[0] if len(found) == 1 else None


def _trainer(script: Script, within: cst.CSTNode) -> tuple[cst.Call, cst.FunctionDef, cst.SimpleStatementLine]:
    """In a block, the one call of a function of this file that steps the optimizer, that function, and its step."""
    found = []
    for call in script.all(cst.Call, within):
        function = _function_of(script, call)
        steps = optimizer_steps(script, function) if function is not None else []
        if function is not None and len(steps) == 1:
            found.append((call, function, steps[0]))
    if len(found) != 1:
        raise Unsure("it is not clear where the optimizer steps")
    return found[0]


def each_step(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Step a schedule after each optimizer step, not once an epoch."""
    place, name = _stepping(script, line)
    return _into_loop(script, place, name, Changes(script).remove(place))


def _into_loop(script: Script, place: Statement, name: str, changes: Changes) -> Changes:
    """Step the schedule behind the optimizer's step that the loop around a place leads to."""
    block = script.block(place)
    within = block if isinstance(block, cst.IndentedBlock) else script.module
    steps = [s for s in optimizer_steps(script, script.scope(place)) if s in script.all(cst.SimpleStatementLine, within)]
    if len(steps) == 1 and steps[0] is not place:
        return changes.after(_behind(script, steps[0]), f"{name}.step()")
    call, function, step = _trainer(script, within)
    if name.startswith("self."):
        return changes.after(_behind(script, step), f"{name}.step()")
    if "." in name or len([c for c in script.all(cst.Call) if _function_of(script, c) is function]) != 1:
        raise Unsure("the function that steps the optimizer is called from several places")
    handed = next((a for a in call.args if dotted(a.value) == name), None)
    if handed is not None:
        raise Unsure("the function that steps the optimizer has the schedule already")
    if function.params.star_kwarg is not None or isinstance(function.params.star_arg, cst.Param) or name in script.bound(function):
        raise Unsure("the function that steps the optimizer takes any arguments")
    params = [*function.params.params]
    if any(p.default is not None for p in params) or function.params.kwonly_params:
        raise Unsure("a parameter cannot be added behind those with defaults")
    changes.rework(call, lambda c: keyword(c, name, name))
    changes.rework(function.params, lambda p: p.with_changes(params=[*p.params[:-1], *_joined(p.params[-1:], name)]))
    return changes.after(_behind(script, step), f"{name}.step()")


def _joined(last: tuple[cst.Param, ...], name: str) -> list[cst.Param]:
    comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    return [*(p.with_changes(comma=comma) for p in last), cst.Param(cst.Name(name))]


def _behind(script: Script, step: cst.SimpleStatementLine) -> Statement:
    """The step itself, or the scaler's update behind it."""
    block = list(script.siblings(step))
    i = block.index(step)
    behind = block[i + 1] if i + 1 < len(block) else None
    updates = isinstance(behind, cst.SimpleStatementLine) and any(script.last(c) == "update" for c in script.all(cst.Call, behind))
    return behind if updates else step  # type: ignore[return-value] # a simple statement


def each_epoch(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Step a schedule once an epoch, not after each batch."""
    place, name = _stepping(script, line)
    batches = script.around(place, cst.For)
    if batches is None:
        raise Unsure("the schedule is not stepped in a loop")
    epochs = script.around(batches, cst.For)
    if epochs is not None and script.function(epochs) is script.function(batches):
        return Changes(script).move(place, after=batches)
    function = script.function(place)
    calls = [c for c in script.all(cst.Call) if function is not None and _function_of(script, c) is function]
    if len(calls) != 1 or function is None:
        raise Unsure("it is not clear which loop goes over epochs")
    caller = script.statement_of(calls[0])
    if script.around(calls[0], cst.For) is None:
        raise Unsure("the function that trains is not called in a loop over epochs")
    outer = name
    params = [p.name.value for p in function.params.params]
    if name in params:
        given = argument(calls[0], name, params.index(name) - (params[:1] == ["self"]))
        outer = dotted(given.value) if given is not None else ""
    elif not name.startswith("self.") and not script.visible(name, caller):
        outer = ""
    if not outer:
        raise Unsure("the schedule has no name where the epochs are counted")
    return Changes(script).remove(place).after(caller, f"{outer}.step()")


def attach_to(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Attach a schedule to another event of an engine than the one that is named on the line."""
    calls = [c for c in script.calls(line) if script.last(c) in ("add_event_handler", "attach")]
    named = [
        a.value
        for c in calls
        for a in c.args
        if isinstance(a.value, cst.Attribute) and a.value.attr.value.startswith(("ITERATION_", "EPOCH_"))
    ]
    if len(calls) != 1 or len(named) != 1:
        raise Unsure("the line does not name just one event to which the schedule is attached")
    return Changes(script).replace(named[0].attr, cst.Name(str(values["event"])))


def after_optimizer(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Step a schedule after the optimizer."""
    place, _ = _stepping(script, line)
    block = list(script.siblings(place))
    later = block[block.index(place) + 1 :]
    steps = [s for s in later if isinstance(s, cst.SimpleStatementLine) and s in optimizer_steps(script, script.scope(place))]
    if steps:
        return Changes(script).move(place, after=_behind(script, steps[-1]))
    inside = [s for s in later if any(n in optimizer_steps(script, script.scope(place)) for n in script.all(cst.SimpleStatementLine, s))]
    if not inside:
        inside = [s for s in later if _trains(script, s)]
    if len(inside) != 1:
        raise Unsure("the optimizer's step does not follow in the same block")
    return Changes(script).move(place, after=inside[0])  # type: ignore[arg-type] # a statement of a block


def _trains(script: Script, node: cst.CSTNode) -> bool:
    functions = [_function_of(script, c) for c in script.all(cst.Call, node)]
    return any(f is not None and optimizer_steps(script, f) for f in functions)


def take_steps(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Step a schedule that was built and never stepped."""
    call = _built(script, line)
    assign = script.around(call, cst.Assign)
    name = dotted(assign.targets[0].target) if assign is not None and assign.value is call else ""
    if not name:
        raise Unsure("the schedule has no name")
    if any(is_schedule(script, c) and script.name(c) == f"{name}.step" for c in script.all(cst.Call)):
        raise Unsure("the schedule is stepped somewhere")
    scope = script.scope(call)
    loops = [n for n in script.own(cst.For, scope) if script.around(n, cst.For) is None and isinstance(n.body, cst.IndentedBlock)]
    loops = [n for n in loops if script.line(n) > script.line(call)]
    training = [
        n for n in loops if _trains(script, n) or any(s in script.all(cst.SimpleStatementLine, n) for s in optimizer_steps(script, scope))
    ]
    if len(training) != 1:
        raise Unsure("the loop that trains does not follow in the same function")
    body = training[0].body.body
    if values.get("each") == "step":
        first = body[0]
        return _into_loop(script, first, name, Changes(script))  # type: ignore[arg-type] # a statement of a block
    if any(s in body for s in optimizer_steps(script, scope)):
        raise Unsure("the loop over epochs cannot be told from that over batches")
    inner = [
        s for s in body if any(n in optimizer_steps(script, scope) for n in script.all(cst.SimpleStatementLine, s)) or _trains(script, s)
    ]
    return Changes(script).after(inner[-1], f"{name}.step()")  # type: ignore[arg-type] # a statement of a block


def rebuild_schedule(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Build a schedule after the last optimizer: moved there, or built again where that stands in another block."""
    place = script.statement(line)
    call = next((c for c in script.calls(line) if c.args and dotted(c.args[0].value)), None)
    if call is None or not isinstance(place, cst.SimpleStatementLine):
        raise Unsure("the line does not build a schedule for a named optimizer")
    optimizer = dotted(call.args[0].value)
    built = [script.statement_of(v) for v in script.assigned(optimizer) if isinstance(v, cst.Call)]
    last = max(built, key=script.line, default=None)
    if last is None or script.line(last) < line:
        raise Unsure("no later line builds that optimizer anew")
    if last in script.siblings(place):
        return Changes(script).move(place, after=last)
    if not optimizer.startswith("self."):
        raise Unsure("the optimizer is built anew elsewhere")
    return Changes(script).after(last, place.with_changes(leading_lines=[]))
