"""The line that works out what a loss weighs classes by, followed back through the source from where the loss was told."""

from __future__ import annotations

import ast

from trainlint.probes.source.scopes import Function, Scope, called, calls_at, own_nodes, scope_at
from trainlint.probes.source.ways import Step, way_of
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree

__all__ = ["weighed_at"]

#: Functions that are gone into.
_MOST = 4
#: Calls that only keep weights within bounds.
_BOUNDS = frozenset({"clamp", "clamp_", "clip", "maximum", "minimum", "round"})


def weighed_at(place: Place | None) -> Place | None:
    """Where the weights are worked out that the loss built or called at a line is given; None where the source does not tell."""
    scope = scope_at(place, []) if place is not None else None
    if place is None or scope is None:
        return None
    given = [k.value for c in calls_at(scope, place[1]) for k in c.keywords if k.arg in ("pos_weight", "weight")]
    given = given or [c.args[0] for c in calls_at(scope, place[1]) if called(c) in ("CrossEntropyLoss", "NLLLoss") and c.args]
    value = given[0] if len(given) == 1 else None
    found: Place | None = None
    for _ in range(_MOST):
        step = _worked_out(way_of(value, scope)) if value is not None else None
        if step is None:
            break
        found = step.place
        entered = _entered(step)
        if entered is None:
            break
        value, scope = entered
    return found


def _worked_out(way: list[Step]) -> Step | None:
    """The first step that works the value out; None where it comes out of an object that the way does not look into."""
    for step in way:
        named = (
            isinstance(step.value, ast.Subscript) and isinstance(step.value.slice, ast.Constant) and isinstance(step.value.slice.value, str)
        )
        owner = step.value.value if isinstance(step.value, ast.Attribute) else None
        if named or (owner is not None and not (isinstance(owner, ast.Name) and owner.id == "self")):
            return None
        if step.works and not (isinstance(step.value, ast.Call) and called(step.value) in _BOUNDS):
            return step
    return None


def _entered(step: Step) -> tuple[ast.expr, Scope] | None:
    """What the one function of the same file that a step calls returns."""
    tree = source_tree(step.place[0])
    if tree is None or not isinstance(step.value, ast.Call):
        return None
    function = next((f for f in tree.body if isinstance(f, Function) and f.name == called(step.value)), None)
    returned = [n.value for n in own_nodes(function) if isinstance(n, ast.Return) and n.value is not None] if function is not None else []
    return (returned[0], Scope(step.place[0], function)) if function is not None and len(returned) == 1 else None
