"""Edits of modes: training and evaluation, and gradients in validation."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, statement
from trainlint.edits.script import Script, Unsure
from trainlint.finding import Json

__all__ = ["evaluate", "train", "without_gradients"]

#: Methods by which a module is told from a function.
_MODULE_METHODS = ("train", "eval", "parameters", "to", "cuda", "state_dict", "load_state_dict", "named_parameters", "requires_grad_")
_TRAINS = ("backward", "manual_backward", "step")


def _loop(script: Script, line: int) -> cst.For:
    """The loop over batches whose head is on a line."""
    loop = script.statement(line)
    if not isinstance(loop, cst.For) or not isinstance(loop.body, cst.IndentedBlock):
        raise Unsure("the line is not the head of a loop over batches")
    return loop


def _model(script: Script, loop: cst.For) -> str:
    """The model that is called in a loop."""
    modules = {script.name(c).rpartition(".")[0] for c in script.all(cst.Call) if script.last(c) in _MODULE_METHODS}
    for name in list(modules):
        # A module's parameter may have another name where it is called.
        modules.add(name.removeprefix("self."))
    called = [script.name(c) for c in script.all(cst.Call, loop.body)]
    losses = {n for n in modules if any(word in n.lower() for word in ("criterion", "loss"))}
    names = list(dict.fromkeys(n for n in called if n in modules - losses - {""} and script.visible(n, loop)))
    if len(names) != 1:
        names = [n for n in dict.fromkeys(called) if n.split(".")[-1] in ("model", "net", "network") and script.visible(n, loop)]
    if len(names) != 1:
        raise Unsure("it is not clear which model the loop calls")
    return names[0]


def train(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Switch to training mode before the loop over the training batches."""
    loop = _loop(script, line)
    return Changes(script).before(loop, f"{_model(script, loop)}.train()")


def _validates(script: Script, line: int) -> cst.For:
    loop = _loop(script, line)
    if any(script.last(c) in (*_TRAINS, "grad") for c in script.all(cst.Call, loop)):
        raise Unsure("the loop takes derivatives")
    return loop


def _comes_back(script: Script, model: str) -> bool:
    """Whether train() is called again in every epoch: in the outermost loop that trains, or before a function's only one."""
    for call in script.all(cst.Call):
        if script.last(call) != "train" or call.args or script.name(call).split(".")[-2:-1] != model.split(".")[-1:]:
            continue
        scope = script.scope(call)
        loops = [loop for loop in script.own(cst.For, scope) if any(script.last(c) in _TRAINS for c in script.all(cst.Call, loop))]
        if not loops or any(n in loops for n in script.ancestors(call)) or (len(loops) == 1 and isinstance(scope, cst.FunctionDef)):
            return True
    return False


def _no_grad(script: Script, changes: Changes, loop: cst.For) -> Changes:
    """Switch gradients off: by a decorator where a function does nothing but validate, else by a block around the loop."""
    changes.import_module("torch")
    function = script.function(loop)
    if function is not None and _only_validates(script, function):
        name = cst.Decorator(cst.parse_expression("torch.no_grad()"))
        return changes.rework(function, lambda f: f.with_changes(decorators=[*f.decorators, name]))
    block = statement("with torch.no_grad():\n    pass\n")
    assert isinstance(block, cst.With)

    def wrapped(updated: cst.For) -> cst.With:
        inner = updated.with_changes(leading_lines=[])
        return block.with_changes(body=block.body.with_changes(body=[inner]), leading_lines=updated.leading_lines)

    return changes.rework(loop, wrapped)


def _only_validates(script: Script, function: cst.FunctionDef) -> bool:
    """Whether a function has one loop, trains nothing, and is a plain one."""
    calls = [script.last(c) for c in script.all(cst.Call, function)]
    if any(c in (*_TRAINS, "grad", "train") or "train" in c or "fit" in c for c in calls) or script.all(cst.Yield, function):
        return False
    return function.asynchronous is None and not function.decorators and function.name.value not in ("main", "run", "forward", "__init__")


def evaluate(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Switch to evaluation mode for a validation loop, and gradients off with ``values["gradients"]``."""
    loop = _validates(script, line)
    model = _model(script, loop)
    changes = Changes(script).before(loop, f"{model}.eval()")
    if not _comes_back(script, model):
        changes.after(loop, f"{model}.train()")
    if values.get("gradients"):
        _no_grad(script, changes, loop)
    return changes


def without_gradients(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Switch gradients off in a validation loop."""
    return _no_grad(script, Changes(script), _validates(script, line))
