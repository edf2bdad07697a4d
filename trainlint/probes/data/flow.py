"""Follows tensors through a tape: which of them enter the model, and which the loss.

A tensor that meets parameters while more parameters lie ahead is an input; one that meets a result of the parameters with none
ahead is a target.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trainlint.record.functions import LOSS_FUNCTIONS
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["Flow", "trace"]

#: Loss functions whose third argument is a target too.
_THIRD_IS_TARGET = frozenset({"cosine_embedding_loss", "margin_ranking_loss"})
#: Operations that change the scale of a tensor.
_RESCALES = frozenset({
    "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "true_divide", "addcdiv", "normalize", "layer_norm", "batch_norm", "group_norm",
    "instance_norm", "log", "log1p",
})  # fmt: skip
#: Operations that take only shape, type or device of their second argument.
_AS_SECOND = frozenset({"expand_as", "reshape_as", "type_as", "view_as"})


@dataclass(frozen=True)
class Flow:
    """Where the sources of one tape went, by slot."""

    inputs: frozenset[int]
    targets: frozenset[int]
    inside: frozenset[int]
    """Targets that a formula within a module's forward compares with its output, or masks of the last layer."""
    first_layer: str
    """Class of the module that first brings parameters (or a norm) to the main source."""
    rescaled: bool
    """The model rescales the main source before that."""


def trace(tape: Tape, sources: Collection[int], main: int | None = None) -> Flow:
    """Follow source slots through the operations of a tape. ``main`` is the source whose first layer is of interest."""
    parameters = tape.leaves.keys() | tape.parameters.keys()
    learns = _leads_to(tape, [any(slot in parameters for slot in op.inputs) for op in tape.operations])
    is_scored = _leads_to(tape, [op.name in LOSS_FUNCTIONS for op in tape.operations])
    learned = set(parameters)
    carried: dict[int, frozenset[int]] = {s: frozenset([s]) for s in sources}
    scored: set[int] = set()
    inputs: set[int] = set()
    targets: set[int] = set()
    formula: dict[tuple[bool, bool], set[int]] = {}
    touched = {main}
    first_layer, rescaled = "", False
    for position, op in enumerate(tape.operations):
        valued = _valued(op)
        plain = frozenset[int]().union(*(carried.get(s, ()) for s in valued if s not in learned))
        made = _made(op)
        mixed = any(s in learned for s in valued)
        if not first_layer and any(s in touched for s in valued):
            touched.update(made)
            kind = type(op.module).__name__ if op.module is not None else ""
            if kind and (any(s in parameters for s in op.inputs) or "Norm" in kind):
                first_layer = kind
            elif kind and not mixed and op.name in _RESCALES:
                rescaled = True
        if not mixed:
            carried.update((s, plain) for s in made if plain)
            continue
        if op.name in LOSS_FUNCTIONS:
            targets.update(s for slot in _compared(op) if slot not in learned for s in carried.get(slot, ()))
        elif learns[position]:
            inputs |= plain
        elif not any(s in scored for s in op.inputs):
            formula.setdefault((is_scored[position], op.module is not None), set()).update(plain)
        if op.name in LOSS_FUNCTIONS or any(s in scored for s in op.inputs):
            scored.update(made)
        learned.update(made)
    outside, inside = formula.get((False, False), set()), formula.get((False, True), set())
    if not targets | outside | inside:  # what is worked into the prediction before a loss function is mostly a mask or an index
        outside, inside = formula.get((True, False), set()), formula.get((True, True), set())
    return Flow(frozenset(inputs), frozenset(targets | outside), frozenset(inside), first_layer, rescaled)


def _leads_to(tape: Tape, goal: Sequence[bool]) -> list[bool]:
    """For each operation, whether it is a goal or its results go on to one."""
    leading: set[int] = set()
    found = [False] * len(tape.operations)
    for position in range(len(tape.operations) - 1, -1, -1):
        op = tape.operations[position]
        found[position] = goal[position] or any(s in leading for s in _made(op))
        if found[position]:
            leading.update(op.inputs)
    return found


def _made(op: Operation) -> tuple[int, ...]:
    return op.outputs if op.mutates is None else (*op.outputs, op.mutates)


def _valued(op: Operation) -> tuple[int, ...]:
    """Slots whose values go into the result, not only their shape or type: noise made like a batch knows nothing of it."""
    if op.name in _AS_SECOND:
        return op.inputs[:1]
    return op.inputs[1:] if op.name.endswith("_like") or op.name.startswith("new_") else op.inputs


def _compared(op: Operation) -> list[int]:
    """Slots of a loss call's prediction and target, not of its weights."""
    count = 3 if op.name in _THIRD_IS_TARGET else 2
    names = ("input", "target", "targets", "log_probs", "input1", "input2")
    found = [*op.args[:count], *(op.kwargs[n] for n in names if n in op.kwargs)]
    return [slot for ref in found if (slot := getattr(ref, "slot", None)) is not None]
