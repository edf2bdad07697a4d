"""The weights of the matrix product behind a function, and the scale that they start with."""

from __future__ import annotations

from torch import nn

from trainlint.measurements import Weighing
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["weighing_before"]

#: Operations between a product and a function that leave the scale as it is, a bias among them, and those that only move weights.
_BETWEEN = frozenset({"__radd__", "add", "add_", "sub", "sub_"})
_MOVES = frozenset(
    {
        "T",
        "__getitem__",
        "contiguous",
        "expand",
        "flatten",
        "mT",
        "permute",
        "reshape",
        "select",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
        "view",
    }
)
#: Products and the place of the first factor among their inputs.
_PRODUCTS = {"__matmul__": 0, "addmm": 1, "baddbmm": 1, "bmm": 0, "einsum": 0, "linear": 0, "matmul": 0, "mm": 0}
#: How far is looked back.
_MOST_STEPS = 16


def weighing_before(tape: Tape, op: Operation, recording: Recording) -> Weighing | None:
    """The weights that alone make what a function is given, as they are at present; None where they are scaled or normalised on the way."""
    product = _product(tape, op)
    if product is None:
        return None
    factors = product.inputs[_PRODUCTS[product.name] :][:2]
    for place, slot in enumerate(factors):
        weights = _weights(tape, slot)
        inputs = _summed(tape, product, factors, place)
        if weights is not None and weights.numel() > 1 and inputs:
            return Weighing(
                weights=_name(recording, weights),
                std=float(weights.detach().float().std()),
                inputs=inputs,
                where=recording.frames.location(recording.places.get(id(weights))),
            )
    return None


def _product(tape: Tape, op: Operation) -> Operation | None:
    """The matrix product whose sums a function is given."""
    for _ in range(_MOST_STEPS):
        made = next((tape.operations[tape.producers[s]] for s in op.inputs if s in tape.producers), None)
        if made is None or made.name in _PRODUCTS:
            return made
        if made.name not in _BETWEEN | _MOVES:
            return None
        op = made
    return None


def _weights(tape: Tape, slot: int) -> nn.Parameter | None:
    """The parameter that a factor is, moved at most."""
    for _ in range(_MOST_STEPS):
        held, place = tape.outside.get(slot), tape.producers.get(slot)
        if isinstance(held, nn.Parameter):
            return held
        if place is None or tape.operations[place].name not in _MOVES:
            return None
        slot = tape.operations[place].inputs[0]
    return None


def _summed(tape: Tape, product: Operation, factors: tuple[int, ...], place: int) -> int:
    """Over how many products each sum runs; 0 where that is not told."""
    shape = tape.shapes.get(factors[place], ())
    if product.name == "einsum":
        terms = str(product.args[0]).replace(" ", "").split("->")
        names = terms[0].split(",")
        if len(terms) != 2 or len(names) != 2 or len(names[place]) != len(shape):
            return 0
        sizes = [size for name, size in zip(names[place], shape, strict=True) if name in names[1 - place] and name not in terms[1]]
        return sizes[0] if len(sizes) == 1 else 0
    if len(shape) < 2:
        return 0
    return shape[-1] if product.name == "linear" or place == 0 else shape[-2]


def _name(recording: Recording, weights: nn.Parameter) -> str:
    return next((name for model in recording.models() for name, p in model.named_parameters() if p is weights), "")
