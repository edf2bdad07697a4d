"""Arithmetic of the script's own in which a column of one value per sample meets a row of one value per sample: all pairs are made."""

from __future__ import annotations

from dataclasses import dataclass

from trainlint.probes.step.loss_input import PASS_THROUGH
from trainlint.record.operation import Operation
from trainlint.record.parameters import owns_parameters
from trainlint.record.tape import Tape

__all__ = ["Crossed", "crossed_pairs"]

_ARITHMETIC = frozenset({"add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "rtruediv", "pow"})
#: What a layer's outputs go through without changing their shape, or being meant as a column.
_ELEMENTWISE = frozenset({
    "detach", "sigmoid", "tanh", "relu", "softplus", "exp", "log", "clamp", "neg", "float", "to", "double", "square", "abs", "expand",
    "broadcast_tensors",
})  # fmt: skip
_LAYERS = frozenset({"linear", "addmm", "matmul", "embedding", "bilinear"})
#: Operations that are looked back at, at most.
_MOST = 64


@dataclass(frozen=True)
class Crossed:
    """One such operation."""

    operation: Operation
    column: tuple[int, ...]
    row: tuple[int, ...]
    side: int
    """Which of the operands the column is, counted from 0."""


def crossed_pairs(tape: Tape) -> Crossed | None:
    """The first operation that makes (N, N) of a layer's (N, 1), or of such a tensor of the batch, and an (N,).

    A column that was made on purpose, by ``unsqueeze``, an index or ``keepdim``, comes from none of these; a model may well multiply a column
    by a row of frequencies or centres of its own.
    """
    for op in tape.operations:
        if op.module is not None and owns_parameters(op.module):
            continue
        if op.name.strip("_") not in _ARITHMETIC or len(op.inputs) != 2:
            continue
        one, other = (tape.shapes.get(slot, ()) for slot in op.inputs)
        if _root(tape, op.inputs[0]) == _root(tape, op.inputs[1]):
            continue  # each value against all others of its kind, as a ranking loss does
        for side, column, row in ((0, one, other), (1, other, one)):
            samples = column[0] if column else 0
            if samples > 1 and column == (samples, 1) and row == (samples,) and _is_of_a_layer(tape, op.inputs[side]):
                return Crossed(op, column, row, side)
    return None


def _root(tape: Tape, slot: int) -> int:
    """The tensor whose values a slot holds, in whatever shape."""
    for _ in range(16):
        position = tape.producers.get(slot)
        op = tape.operations[position] if position is not None else None
        if op is None or op.name not in PASS_THROUGH or not op.inputs:
            break
        slot = op.inputs[0]
    return slot


def _is_of_a_layer(tape: Tape, slot: int) -> bool:
    """Whether a column is a layer's output, came from the loader, or was reckoned from such columns: an advantage is returns less values."""
    shape, waiting, seen = tape.shapes.get(slot, ()), [slot], set[int]()
    while waiting and len(seen) < _MOST:
        slot = waiting.pop()
        if slot in seen:
            continue
        seen.add(slot)
        if slot in tape.batch.values():
            return True
        position = tape.producers.get(slot)
        if position is None:
            continue
        op = tape.operations[position]
        name = op.name.strip("_")
        if name in _LAYERS:
            return True
        if name == "stack" and all(tape.shapes.get(s, ()) == (1,) for s in op.inputs):
            # each was a batch of one: a column that nobody made on purpose
            return any(tape.operations[p].name.strip("_") in _LAYERS for p in tape.upstream(slot))
        if name in _ELEMENTWISE | _ARITHMETIC:
            waiting.extend(s for s in op.inputs if tape.shapes.get(s, ()) == shape)
    return False
