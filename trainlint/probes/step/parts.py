"""Parts of a recorded batch: cheaper to train on, where the step takes them.

A step that asks a tensor for its shape records numbers, so an operation may hold the batch's size. Where such a number leads a shape and
the tensor comes from the batch, it is changed with the batch; a step that still refuses, or gives another kind of loss, is left whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["alike", "batch_rows", "divided", "resized"]

#: Batches of at least this many samples are divided.
_WORTH_DIVIDING = 32
_SHAPED = frozenset({"broadcast_to", "expand", "reshape", "view"})


def batch_rows(tape: Tape, fill: Mapping[int, Tensor] | None = None) -> int:
    """Samples of the recorded batch, or of what is fed in its place; 0 when its tensors do not agree."""
    values = fill or {}
    sizes = {t.shape[0] if t.dim() else 0 for t in (values.get(s, tape.outside[s]) for s in tape.batch.values())}
    return sizes.pop() if len(sizes) == 1 else 0


def divided(tape: Tape, fills: list[dict[int, Tensor]], parts: int) -> list[dict[int, Tensor]] | None:
    """The first of so many parts of each batch; None when batches are small or have no common size."""
    size = batch_rows(tape)
    if size < _WORTH_DIVIDING or any(batch_rows(tape, f) != size for f in fills):
        return None
    return [{s: f.get(s, tape.outside[s])[: size // parts] for s in tape.batch.values()} for f in fills]


def resized(tape: Tape, rows: int) -> dict[int, Operation]:
    """Id of an operation -> the same for batches of ``rows`` samples, for those that hold the recorded size."""
    size, found = batch_rows(tape), {}
    fed = set(tape.batch.values())
    for op in tape.operations:
        from_batch = any(s in fed for s in op.inputs)
        if from_batch:
            fed.update(Tape._made(op))
        if op.name not in _SHAPED or not op.inputs or len(op.args) < 2:
            continue
        nested = isinstance(op.args[1], tuple | list)
        shape = list(op.args[1] if nested else op.args[1:])
        if not shape or type(shape[0]) is not int or shape[0] <= 0 or shape[0] % size:
            continue
        before = tape.shapes.get(op.inputs[0], ())
        if from_batch or (op.name in ("broadcast_to", "expand") and shape[0] == size and before[:1] == (1,)):
            fed.update(Tape._made(op))
            shape[0] = shape[0] // size * rows
            found[id(op)] = _with_shape(op, shape, nested=nested)
    return found


def _with_shape(op: Operation, shape: list[Any], *, nested: bool) -> Operation:
    new = Operation(**{k: getattr(op, k) for k in Operation.__slots__})
    new.args = (op.args[0], tuple(shape), *op.args[2:]) if nested else (op.args[0], *shape)
    return new


def alike(part: float, whole: float, factor: float) -> bool:
    """Whether the loss of a part is within a factor of the whole batch's, as a mean over samples is."""
    return math.isfinite(part) and bool(whole) and 1 / factor < part / whole < factor
