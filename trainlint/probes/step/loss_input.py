"""What made the input of a loss: its operation, its activation and its weights."""

from __future__ import annotations

import math

from torch import nn

from trainlint.record.frames import Place
from trainlint.record.operation import Operation, Ref
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["PASS_THROUGH", "activation_of", "input_slot", "maker_of", "output_weight", "softmax_axis"]

#: Operations that change the shape, type or place of values but not the values.
PASS_THROUGH = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten", "transpose", "permute", "contiguous", "to", "float", "double", "half",
    "bfloat16", "type", "type_as", "clone", "t", "T", "mT", "view_as", "expand", "expand_as", "__getitem__", "chunk", "split", "narrow",
    "select", "movedim", "squeeze_", "unsqueeze_", "cpu", "cuda", "ravel", "swapaxes", "stack", "cat", "unbind", "index_select", "masked_select",
    "reshape_as", "moveaxis", "detach",
})  # fmt: skip


#: Operations whose name tells what range their result has.
_ACTIVATIONS = {
    "softmax": "softmax", "log_softmax": "log_softmax", "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "logsigmoid": "logsigmoid", "relu": "relu",
    "relu_": "relu", "tanh": "tanh", "tanh_": "tanh", "clamp": "clamp", "clamp_": "clamp", "softplus": "softplus", "hardtanh": "hardtanh",
    "leaky_relu": "leaky_relu", "gelu": "gelu", "silu": "silu", "elu": "elu", "log": "log", "exp": "exp", "softmin": "softmin", "relu6": "relu6",
    "hardsigmoid": "hardsigmoid", "abs": "abs", "square": "square", "normalize": "normalize", "expit": "sigmoid", "gumbel_softmax": "softmax",
}  # fmt: skip


def input_slot(op: Operation) -> int | None:
    """Slot of the loss call's input."""
    given = op.argument(0, "input")
    return given.slot if isinstance(given, Ref) else None


def maker_of(tape: Tape, op: Operation) -> Operation | None:
    """The operation that made the values of the loss's input, looking through reshapes and casts."""
    slot = input_slot(op)
    for _ in range(32):
        position = tape.producers.get(slot) if slot is not None else None
        if position is None:
            return None
        made = tape.operations[position]
        if made.name not in PASS_THROUGH or not made.inputs:
            return made
        slot = made.inputs[0]
    return None


def output_weight(recording: Recording, tape: Tape, maker: Operation) -> tuple[float, Place | None] | None:
    """Scale of the weight matrix that an operation multiplies with, and where its first owner was built."""
    slot = next((s for s in _sources(tape, maker) if isinstance(tape.outside.get(s), nn.Parameter) and tape.outside[s].dim() > 1), None)
    if slot is None:
        return None
    weight = tape.outside[slot]
    value = recording.initial.get(id(weight), weight).detach().float()
    owners = [m for model in recording.models() for m in model.modules() if any(p is weight for p in parameters_of(m, recurse=False))]
    place = next((p for m in owners if (p := recording.places.get(id(m))) is not None), None)
    return float(value.std()) * math.sqrt(value[0].numel()), place


def _sources(tape: Tape, op: Operation) -> list[int]:
    """Slots of an operation's arguments, looking through reshapes and transposes of them."""
    found = []
    for slot in op.inputs:
        for _ in range(8):
            made = tape.operations[tape.producers[slot]] if slot in tape.producers else None
            if made is None or made.name not in {*PASS_THROUGH, "t", "transpose", "T", "mT"} or not made.inputs:
                break
            slot = made.inputs[0]
        found.append(slot)
    return found


def activation_of(tape: Tape, op: Operation) -> tuple[str | None, Operation | None]:
    """Name of the activation that a loss is given the result of, and the operation; ``(None, None)`` for logits."""
    made = maker_of(tape, op)
    if made is None:
        return None, None
    if made.name in ("clamp", "clamp_", "log") and made.inputs:
        # log(softmax(x)) is log_softmax; a clamp for safety does not hide what is under it.
        inner = maker_of(tape, made)
        under = _ACTIVATIONS.get(inner.name) if inner else None
        if under == "softmax" and made.name == "log":
            return "log_softmax", made
        if under is not None and made.name != "log":
            return under, inner
    return _ACTIVATIONS.get(made.name), made


def softmax_axis(tape: Tape, op: Operation) -> int | None:
    """The axis of a softmax as written in the call; None for other operations and where it is not known."""
    if op.name not in ("softmax", "log_softmax", "softmin", "gumbel_softmax"):
        return None
    axis = op.argument(1, "dim") if op.name != "gumbel_softmax" else op.argument(4, "dim", -1)
    shape = tape.shapes.get(op.inputs[0]) if op.inputs else None
    if shape is None:
        return None
    if axis is None:
        axis = 0 if len(shape) in (0, 1, 3) else 1  # torch's implicit choice
    return int(axis) % max(len(shape), 1)
