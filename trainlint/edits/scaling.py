"""Edits of scalers and encoders: fitted on training data once, applied to the rest."""

from __future__ import annotations

import re

import libcst as cst

from trainlint.edits.changes import Changes
from trainlint.edits.script import Scope, Script, Unsure, dotted
from trainlint.finding import Json

__all__ = ["transform_only"]

#: Words of names of training data and of data that nothing is learned from, as in ``X_train``, ``xtest``, ``val_names``.
_TRAIN = re.compile(r"[xy]?(train|training|tr)[xy]?\d*", re.IGNORECASE)
_OTHER = re.compile(r"[xy]?(val|valid|validation|test|testing|te|dev|eval|holdout)[xy]?\d*", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_FITS = ("fit", "fit_transform")


def transform_only(script: Script, line: int, values: dict[str, Json]) -> Changes:
    """Let what was fitted on training data transform validation data, on which the line, or others beside it, fit it anew."""
    scope = script.scope(script.statement(line))
    fits = [c for c in script.own(cst.Call, scope) if script.last(c) in _FITS]
    again = [c for c in fits if script.last(c) == "fit_transform" and _part(script, c) == "other"]
    here = script.calls(line)
    # A line that fits something else, such as a target, still tells the place where it is done.
    wanted = [c for c in again if c in here] or [c for c in again if any(fit in here for fit in fits)]
    if not wanted:
        raise Unsure("the line does not fit a scaler or an encoder on validation data")
    changes = Changes(script)
    for call in again:
        try:
            _apply(script, call, fits, scope, changes)
        except Unsure:
            if call in wanted:
                raise
    return changes


def _apply(script: Script, call: cst.Call, fits: list[cst.Call], scope: Scope, changes: Changes) -> None:
    """Make a call that fits one that only transforms."""
    if len(call.args) != 1 or call.args[0].star:
        raise Unsure("the call is given more than the data")
    held = script.receiver(call)
    assert held is not None  # its last word is the name of a method
    name = dotted(held)
    earlier = [c for c in fits if _comes_before(script, c, call) and _part(script, c) != "other"]
    same = [c for c in earlier if name and dotted(script.receiver(c) or c) == name]
    made = [a for a in script.own(cst.Assign, scope) if name and name in [dotted(t.target) for t in a.targets]]
    if same and len({script.code(a.value) for a in made}) <= 1 and isinstance(held, (cst.Name, cst.Attribute)):
        for assign in made:
            if _comes_before(script, same[-1], assign) and _comes_before(script, assign, call):
                changes.remove(script.statement_of(assign))  # the same object made anew
        _rename(call, held, changes)
        return
    uses = [n for n in script.all(type(held), scope) if dotted(n) == name] if name else []
    if name and (len(made) != 1 or len(made[0].targets) != 1 or len(uses) != 2 or script.scope(uses[0]) is not script.scope(uses[1])):
        raise Unsure(f"{name} is not seen to be fitted on training data before, or is used elsewhere")
    twins = _twins(script, made[0].value if name else held, [c for c in earlier if dotted(script.receiver(c) or c) != name], scope)
    if len(twins) != 1:
        raise Unsure("no object of the same kind is seen to be fitted on training data before")
    if name:
        changes.remove(script.statement_of(made[0]))
    _rename(call, twins[0], changes)


def _rename(call: cst.Call, fitted: cst.BaseExpression, changes: Changes) -> None:
    changes.rework(call, lambda c: c.with_changes(func=cst.Attribute(fitted, cst.Name("transform"))))


def _twins(script: Script, built: cst.BaseExpression, earlier: list[cst.Call], scope: Scope) -> list[cst.BaseExpression]:
    """The names that hold an object built in the same words and fitted before."""
    found: dict[str, cst.BaseExpression] = {}
    for fit in earlier:
        held = script.receiver(fit)
        code = [script.code(v) for v in script.assigned(dotted(held), scope)] if held is not None and dotted(held) else []
        if held is not None and isinstance(built, cst.Call) and code == [script.code(built)]:
            found[dotted(held)] = held
    return list(found.values())


def _comes_before(script: Script, first: cst.CSTNode, second: cst.CSTNode) -> bool:
    """Whether a node stands before another one and runs whenever that runs."""
    a, b = script.span(first).start, script.span(second).start
    blocks = (cst.Module, cst.IndentedBlock)
    around = next((n for n in script.ancestors(first) if isinstance(n, blocks)), None)
    return (a.line, a.column) < (b.line, b.column) and around in set(script.ancestors(second))


def _part(script: Script, call: cst.Call) -> str:
    """What a call fits on: ``train``, ``other`` or an empty text, by the names in it, else by the name that its line assigns."""
    assign = script.around(call, cst.Assign)
    targets = [t.target for t in assign.targets if dotted(t.target)] if assign is not None else []
    for nodes in ([a.value for a in call.args], targets):
        words = {w for node in nodes for n in script.all(cst.Name, node) for w in _WORDS.findall(n.value)}
        words |= {w for node in nodes for n in script.all(cst.SimpleString, node) for w in _WORDS.findall(n.value)}
        kinds = {kind for kind, known in (("train", _TRAIN), ("other", _OTHER)) if any(known.fullmatch(w) for w in words)}
        if kinds:
            return "other" if kinds == {"other"} else "train"
    return ""
