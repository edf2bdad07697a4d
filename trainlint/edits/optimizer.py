"""Edits of optimizers: learning rate, kind, groups, and what they hold."""

from __future__ import annotations

import libcst as cst

from trainlint.edits.changes import Changes, argument, expression, keyword
from trainlint.edits.numbers import written
from trainlint.edits.script import Script, Statement, Unsure, dotted
from trainlint.finding import Json

__all__ = ["complete", "decouple", "set_learning_rate", "set_restored_rate", "split_decay"]

#: A measured rate above this is no cure: what is wrong then is the gradient, or its unit.
_HIGHEST_RATE = 1.0


def _built(script: Script, line: int) -> cst.Call:
    """The call that builds an optimizer on a line."""
    calls = [c for c in script.calls(line) if script.full(c)]
    optimizers = [c for c in calls if script.last(c)[:1].isupper() and "optim" in script.full(c).lower()]
    optimizers = optimizers or [c for c in calls if any(a.keyword and a.keyword.value == "lr" for a in c.args)]
    if len(optimizers) != 1:
        raise Unsure("the line does not build just one optimizer")
    return optimizers[0]


def set_learning_rate(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Write another learning rate where the number stands: in the call, or where its name gets its value."""
    if float(str(values["lr"])) > _HIGHEST_RATE:
        raise Unsure("a learning rate that high says that something else is wrong")
    settings = next((c for c in script.calls(line) if argument(c, "learning_rate") is not None), None)
    call = settings or _built(script, line)
    given = argument(call, "lr", 1) if settings is None else argument(call, "learning_rate")
    new = f"{float(str(values['lr'])):.2g}"
    schedules = [c for c in script.all(cst.Call) if script.last(c) in ("OneCycleLR", "CyclicLR")]
    configured = values.get("configured")
    value = float(str(configured)) if configured is not None else None
    if schedules:
        peaks = [argument(c, "max_lr", 1 if script.last(c) == "OneCycleLR" else 2) for c in schedules]
        if len(peaks) != 1 or peaks[0] is None:
            raise Unsure("a schedule sets the learning rate")
        target = written(script, peaks[0].value, value, new)
    elif given is None:
        return Changes(script).rework(call, lambda c: keyword(c, "lr", new))
    else:
        target = written(script, given.value, value, new)
    return Changes(script).replace(target, expression(new))


def set_restored_rate(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give the groups of an optimizer their learning rate again, after ``load_state_dict()`` brought back that of an earlier run."""
    calls = [c for c in script.calls(line) if script.last(c) == "load_state_dict" and script.receiver(c) is not None]
    if len(calls) != 1:
        raise Unsure("the line does not load just one state")
    receiver = script.receiver(calls[0])
    assert receiver is not None
    name = script.code(receiver)
    group = next(n for n in ("group", "param_group", "restored_group") if n not in script.names(script.statement(line)))
    return Changes(script).after(
        script.statement(line), f'for {group} in {name}.param_groups:\n    {group}["lr"] = {float(str(values["lr"])):g}'
    )


def decouple(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Use AdamW for Adam; NAdam and RAdam take an option for it."""
    call = _built(script, line)
    kind = script.last(call)
    if kind in ("NAdam", "RAdam"):
        return Changes(script).rework(call, lambda c: keyword(c, "decoupled_weight_decay", "True"))
    if kind != "Adam" or not script.full(call).startswith("torch.optim."):
        raise Unsure(f"{kind or 'the optimizer'} has no twin with decoupled decay")
    if isinstance(call.func, cst.Attribute):
        return Changes(script).replace(call.func.attr, cst.Name("AdamW"))
    changes = Changes(script).replace(call.func, cst.Name("AdamW"))
    if "AdamW" in script.imports:
        return changes
    name = script.name(call)
    alone = sum(n.value == name for n in script.all(cst.Name)) == 2
    for alias in script.all(cst.ImportAlias):
        if dotted(alias.name) == name and alias.asname is None:
            new = cst.ImportAlias(cst.Name("AdamW"))
            if alone:
                return changes.replace(alias.name, cst.Name("AdamW"))
            owner = script.around(alias, cst.ImportFrom)
            if owner is not None and not isinstance(owner.names, cst.ImportStar):
                first = alias.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
                both = [n for old in owner.names for n in ((first, new.with_changes(comma=old.comma)) if old is alias else (old,))]
                return changes.replace(owner, owner.with_changes(names=both))
    raise Unsure("Adam is imported under another name")


def split_decay(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Give matrices and vectors a group each, the latter without decay."""
    call = _built(script, line)
    given = argument(call, "params", 0)
    if given is None or not isinstance(given.value, cst.Call) or script.last(given.value) != "parameters" or given.value.args:
        raise Unsure("the parameters are not handed over as model.parameters()")
    all_of = script.code(given.value)
    if not script.name(given.value):
        raise Unsure("the model has no name")
    groups = (  # its lines are indented with the block that they come into
        f'[\n    {{"params": [p for p in {all_of} if p.ndim >= 2]}},'
        f'\n    {{"params": [p for p in {all_of} if p.ndim < 2], "weight_decay": 0.0}},\n]'
    )
    return Changes(script).replace(given.value, expression(groups))


def complete(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Build the optimizer after the last change to its model, or from all of the model's parameters."""
    call = _built(script, line)
    place = script.statement_of(call)
    assign = place.body[0] if isinstance(place, cst.SimpleStatementLine) else None
    handed = [c for c in script.all(cst.Call, call) if script.last(c) in ("parameters", "named_parameters") and script.name(c)]
    if not isinstance(assign, cst.Assign) or len({script.name(c) for c in handed}) != 1:
        raise Unsure("it is not clear which model the optimizer is built from")
    optimizer, owner = dotted(assign.targets[0].target), script.name(handed[0]).rpartition(".")[0]
    block = list(script.siblings(place))
    later = block[block.index(place) + 1 :]
    changed = [i for i, s in enumerate(later) if _alters(script, s, owner)]
    if changed:
        return _moved(script, place, later[: changed[-1] + 1], optimizer)
    whole = owner.rpartition(".")[0]
    if whole and whole != "self" and isinstance(call.args[0].value, cst.Call) and call.args[0].value is handed[0]:
        return Changes(script).replace(handed[0], expression(f"{whole}.parameters()"))
    raise Unsure("the model is not changed behind the optimizer in the same block")


def _alters(script: Script, node: cst.CSTNode, model: str) -> bool:
    """Whether a statement gives a model other modules, or its name another model."""
    if isinstance(node, (cst.For, cst.While, cst.FunctionDef, cst.ClassDef)):
        return False
    targets = [dotted(t.target) for t in script.all(cst.AssignTarget, node)]
    added = any(script.name(c) == f"{model}.add_module" for c in script.all(cst.Call, node))
    return added or any(t == model or (t.startswith(f"{model}.") and not t.endswith((".requires_grad", ".training"))) for t in targets)


def _moved(script: Script, place: Statement, between: list[cst.BaseStatement], optimizer: str) -> Changes:
    """The optimizer, and what is built from it, behind the last of some statements."""
    names, moving = {optimizer}, [place]
    for s in between[:-1]:
        if names & script.names(s):
            if not isinstance(s, cst.SimpleStatementLine):
                raise Unsure("the optimizer is used before the model is complete")
            names |= {dotted(t.target) for t in script.all(cst.AssignTarget, s)} - {""}
            moving.append(s)
    last = between[-1]
    if names & script.names(last):
        raise Unsure("the last change to the model uses the optimizer")
    changes = Changes(script)
    for s in moving:
        changes.move(s, after=last)  # type: ignore[arg-type] # statements of a block
    return changes
