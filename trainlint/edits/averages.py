"""Edits of averaged and kept weights: batch norm's momentum, an average's decay, a copy of what is kept, which is the best."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword
from trainlint.edits.numbers import number_at, written
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["average_buffers", "copy_kept", "set_decay", "set_momentum", "turn_round", "write_into"]

#: Arguments without a keyword beyond which one of them may be the direction.
_PLAIN = 4
#: Position of momentum among the arguments of batch norm.
_MOMENTUM = 2


def set_momentum(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give all batch-norm layers of the file that have the momentum ``values["momentum"]`` the one ``values["new"]``."""
    momentum, new = float(str(values["momentum"])), f"{float(str(values['new'])):g}"
    layers = [c for c in script.calls(line) if _is_norm(script, c)]
    given = [a for c in layers if (a := argument(c, "momentum", _MOMENTUM)) is not None]
    if not given:
        raise Unsure("the line does not build a batch-norm layer with a momentum")
    changes = Changes(script)
    codes = {script.code(a.value) for a in given if number_at(a.value) is None}
    for call in script.all(cst.Call):
        shared = [a for a in call.args if a.keyword is not None and a.keyword.value == "momentum" and script.code(a.value) in codes]
        if shared and not _is_norm(script, call):
            raise Unsure(f"{script.last(call)} takes its momentum from the same number")
    for arg in given:
        changes.replace(written(script, arg.value, momentum, new), expression(new))
    for call in script.all(cst.Call):
        if _is_norm(script, call) and not any(a.star for a in call.args):
            other = argument(call, "momentum", _MOMENTUM)
            if other is not None and number_at(other.value) == momentum:
                changes.replace(other.value, expression(new))
    return changes


def _is_norm(script: Script, call: cst.Call) -> bool:
    return "BatchNorm" in script.last(call)


def set_decay(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Write the decay ``values["new"]`` where the number ``values["decay"]`` stands that a line uses, and ``1 - decay`` likewise."""
    decay, to = float(str(values["decay"])), float(str(values["new"]))
    place = script.statement(line)
    if not isinstance(place, cst.SimpleStatementLine):
        raise Unsure("the line is the head of a block")
    changes, doubt = Changes(script), "the decay is not written as a number that the line uses"
    for old, new in ((decay, f"{to:g}"), (1 - decay, f"{1 - to:.6g}")):
        found: dict[int, cst.BaseExpression] = {}
        for node in _numbers(script, place):
            try:
                literal = written(script, node, old, new)
            except Unsure as unsure:
                doubt = str(unsure) if old == decay and "command line" in str(unsure) else doubt
                continue
            found[id(literal)] = literal
        if len(found) > 1:
            raise Unsure("several numbers in this file may be the decay")
        for literal in found.values():
            changes.replace(literal, expression(new))
    if not changes:
        raise Unsure(doubt)
    return changes


def _numbers(script: Script, place: cst.CSTNode) -> Iterator[cst.BaseExpression]:
    """What in a statement can be a number: literals, names and attributes, but for what is called and the words of keywords."""
    words = {id(c.func) for c in script.all(cst.Call, place)}
    words |= {id(n) for a in script.all(cst.Attribute, place) for n in (a.value, a.attr)}
    words |= {id(a.keyword) for a in script.all(cst.Arg, place)}
    for node in (*script.all(cst.Float, place), *script.all(cst.Name, place), *script.all(cst.Attribute, place)):
        if id(node) not in words:
            yield node


def copy_kept(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Keep a copy under the name ``values["what"]``, of a ``state_dict()`` or of a model."""
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    if not isinstance(part, cst.Assign) or len(part.targets) != 1:
        raise Unsure("the line does not assign one value")
    target, value = part.targets[0].target, part.value
    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple) and len(target.elements) == len(value.elements):
        both = zip(target.elements, value.elements, strict=True)
        kept = [v.value for t, v in both if script.code(t.value) == values.get("what")]
    else:
        kept = [value] if script.code(target) == values.get("what") else []
    is_state = len(kept) == 1 and isinstance(kept[0], cst.Call) and script.last(kept[0]) == "state_dict" and not kept[0].args
    if len(kept) != 1 or not (is_state or isinstance(kept[0], (cst.Name, cst.Attribute))):
        raise Unsure("it is not seen what is kept under that name")
    changes = Changes(script)
    deepcopy = next((name for name, full in script.imports.items() if full == "copy.deepcopy"), "")
    if not deepcopy:
        if script.visible("copy", place) and script.imports.get("copy") != "copy":
            raise Unsure("copy is the name of something else here")
        changes.import_module("copy")
        deepcopy = "copy.deepcopy"
    return changes.rework(kept[0], lambda v: cst.Call(expression(deepcopy), [cst.Arg(v)]))


def average_buffers(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Copy the buffers, with batch norm's statistics, beside the parameters that are averaged."""
    built = [c for c in script.calls(line) if script.last(c) == "AveragedModel"]
    if built:
        return Changes(script).rework(built[0], lambda c: keyword(c, "use_buffers", "True"))
    place = script.statement(line)
    loop = place if isinstance(place, cst.For) else script.around(place, cst.For)
    pairs = loop.iter if loop is not None else None
    if loop is None or not isinstance(pairs, cst.Call) or script.name(pairs) != "zip" or len(pairs.args) != 2:
        raise Unsure("the line is not in a loop over both models' parameters")
    if any(not isinstance(a.value, cst.Call) or script.last(a.value) != "parameters" for a in pairs.args):
        raise Unsure("the line is not in a loop over both models' parameters")
    mine, theirs = (script.code(a.value)[: -len("parameters()")] for a in pairs.args)
    return Changes(script).after(loop, f"for kept, present in zip({mine}buffers(), {theirs}buffers()):\n    kept.copy_(present)")


def write_into(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Write a new value into the tensor that has a name, in place of giving the name to it: ``x = v`` becomes ``x.data.copy_(v)``.

    Of a result that is dropped, ``x.mul(a).add(b)``, x is the tensor that the first method is called on.
    """
    place = script.statement(line)
    part = place.body[0] if isinstance(place, cst.SimpleStatementLine) and len(place.body) == 1 else None
    if isinstance(part, cst.Assign) and len(part.targets) == 1 and isinstance(part.targets[0].target, (cst.Name, cst.Subscript)):
        held: cst.BaseExpression = part.targets[0].target
    elif isinstance(part, cst.Expr) and isinstance(part.value, cst.Call):
        held = part.value
        while isinstance(held, cst.Call) and isinstance(held.func, cst.Attribute):
            held = held.func.value
    else:
        raise Unsure("the line does not make a new value of one name")
    inside = held.value if isinstance(held, cst.Attribute) and held.attr.value == "data" else held
    into = f"{script.code(inside)}.data.copy_"
    return Changes(script).rework(part, lambda new: cst.Expr(cst.Call(expression(into), [cst.Arg(new.value)])))


def turn_round(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """In the call that names the metric ``values["metric"]``, set ``values["setting"]`` to ``values["better"]``."""
    metric, setting, better = (str(values[key]) for key in ("metric", "setting", "better"))
    named = [
        (c, a) for c in script.calls(line) for a in c.args if isinstance(a.value, cst.SimpleString) and a.value.evaluated_value == metric
    ]
    if len(named) != 1:
        raise Unsure("the line does not hold just one call with the metric's name")
    call, arg = named[0]
    given = argument(call, setting)
    if given is None and len([a for a in call.args if a.keyword is None]) > _PLAIN:
        raise Unsure("the direction may be among the arguments without a keyword")
    if (
        given is None
        and setting == "lower_is_better"
        and any(script.code(a.value) in ("True", "False") for a in call.args if a.keyword is None)
    ):
        raise Unsure("the direction may be among the arguments without a keyword")
    if given is not None and not isinstance(given.value, cst.SimpleString) and script.code(given.value) not in ("True", "False"):
        raise Unsure("the direction is not written in the call")
    quote = cst.ensure_type(arg.value, cst.SimpleString).quote
    value = better if better in ("True", "False") else f"{quote}{better}{quote}"
    after = arg.keyword.value if arg.keyword is not None else ""
    if given is not None:
        return Changes(script).replace(given.value, expression(value))
    return Changes(script).rework(call, lambda c: keyword(c, setting, value, after))
