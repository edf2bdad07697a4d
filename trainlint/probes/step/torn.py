"""Whether the class scores of one prediction stay together on their way from the output layer to the loss.

A number for each place is put where the output layer puts its scores, and moved as they were moved. Before the loss, the scores of
one prediction must all bear one number: a ``view`` that should have followed a ``permute`` cuts them up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["torn_scores"]

#: Output layers, and the axis that holds their classes.
_LAYERS = {
    "linear": -1, "matmul": -1, "mm": -1, "bmm": -1, "addmm": -1, "conv1d": 1, "conv2d": 1, "conv3d": 1,
    "conv_transpose1d": 1, "conv_transpose2d": 1, "conv_transpose3d": 1, "interpolate": 1, "batch_norm": 1,
}  # fmt: skip
_MOVES = frozenset({
    "contiguous", "flatten", "movedim", "moveaxis", "permute", "ravel", "reshape", "squeeze", "swapaxes", "swapdims", "t", "transpose",
    "unflatten", "unsqueeze", "view",
})  # fmt: skip
#: Operations on single elements, or along the classes, that leave all in place.
_IN_PLACE = frozenset({
    "add", "clamp", "clone", "cpu", "cuda", "div", "double", "dropout", "float", "half", "log_softmax", "mul", "relu", "sigmoid", "softmax",
    "sub", "tanh", "to", "type",
})  # fmt: skip
#: Steps back from the loss; elements beyond which nothing is numbered.
_STEPS, _MOST = 32, 2**24


def torn_scores(tape: Tape, loss: Operation, axis: int) -> tuple[float, Operation | None]:
    """``(share, operation)``: predictions whose scores, along ``axis`` of the loss's input, come from several places; the move that did it.

    ``(0.0, None)`` where that is not known.
    """
    way: list[Operation] = []
    given = loss.argument(0, "input")
    slot = given.slot if isinstance(given, Ref) else None
    for _ in range(_STEPS):
        op = tape.operations[tape.producers[slot]] if slot in tape.producers else None
        if op is None or slot is None or not op.inputs:
            return 0.0, None
        if op.name in _LAYERS:
            return _follow(tape, slot, _LAYERS[op.name], way[::-1], axis)
        kept = op.name in _IN_PLACE and tape.shapes.get(op.inputs[0]) == tape.shapes.get(slot)
        if not kept and not (op.name in _MOVES and len(op.inputs) == 1):
            return 0.0, None
        if not kept:
            way.append(op)
        slot = op.inputs[0]
    return 0.0, None


def _follow(tape: Tape, slot: int, classes: int, moves: list[Operation], axis: int) -> tuple[float, Operation | None]:
    shape = tape.shapes.get(slot, ())
    size = int(torch.Size(shape).numel())
    if not shape or not size or size > _MOST or len(shape) < 2:
        return 0.0, None
    places = [n for i, n in enumerate(shape) if i != classes % len(shape)]
    numbers = torch.arange(size // shape[classes]).reshape(places).unsqueeze(classes % len(shape)).expand(shape).contiguous()
    for op in moves:
        numbers = op.call(numbers, *(_plain(a) for a in op.args[1:]), **op.kwargs)
    if shape[classes] % numbers.shape[axis]:
        return 0.0, None  # places are classes too, as in a map of moves or of key points
    share = _apart(numbers, axis)
    cut = next((op for op in reversed(moves) if op.name in ("view", "reshape", "flatten", "unflatten", "ravel")), None)
    return share, cut if share else None


def _plain(argument: Any) -> Any:
    if isinstance(argument, Ref):
        raise TypeError("a move that depends on a tensor")
    return argument


def _apart(numbers: Tensor, axis: int) -> float:
    rows = numbers.movedim(axis, -1)
    return float((rows != rows[..., :1]).any(-1).float().mean())
