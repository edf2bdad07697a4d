"""Embeddings that are multiplied with each other, and with nothing in between that would bring them to scale, to make a prediction."""

from __future__ import annotations

from torch import nn

from trainlint.probes.step.loss_input import PASS_THROUGH, input_slot
from trainlint.record.frames import Place
from trainlint.record.operation import Operation
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["first_scale", "multiplied_tables"]

_PRODUCTS = frozenset(
    {"mul", "rmul", "matmul", "rmatmul", "bmm", "mm", "dot", "inner", "einsum", "vecdot", "linalg_vecdot", "pow", "square"}
)
_SUMS = frozenset({"add", "radd", "sub", "rsub", "sum"})
_LOOK_UPS = frozenset({"embedding", "embedding_bag", "__getitem__", "index_select"})
#: Operations that are looked back at, at most.
_MOST = 128


def multiplied_tables(tape: Tape, loss: Operation) -> list[nn.Parameter]:
    """The tables whose rows are multiplied with each other on the way to a loss's input, in order of use; empty where a layer stands between."""
    start = input_slot(loss)
    for position in tape.upstream(start, _of_a_product, _MOST) if start is not None else ():
        op = tape.operations[position]
        name = op.name.strip("_")
        if name in _PRODUCTS and (len(op.inputs) > 1 or name in ("pow", "square")):
            parts = [_tables(tape, slot) for slot in op.inputs]
            if all(parts):
                return list({id(table): table for part in parts for table in part}.values())
    return []


def _tables(tape: Tape, slot: int) -> list[nn.Parameter]:
    """The tables of which a tensor holds rows, or sums of them."""
    found: list[nn.Parameter] = []
    for position in tape.upstream(slot, _of_a_sum, _MOST):
        op = tape.operations[position]
        own = [t for s in op.inputs if isinstance(t := tape.outside.get(s), nn.Parameter) and t.dim() == 2]
        if op.name in _LOOK_UPS and own:
            found.extend(own)
        elif not _of_a_sum(op):
            return []  # a layer, a norm or a product brings it to another scale
    return found


def _of_a_sum(op: Operation) -> tuple[int, ...]:
    return tuple(op.inputs) if op.name.strip("_") in _SUMS or op.name in PASS_THROUGH else ()


def _of_a_product(op: Operation) -> tuple[int, ...]:
    return tuple(op.inputs) if op.name.strip("_") in _PRODUCTS else _of_a_sum(op)


def first_scale(recording: Recording, table: nn.Parameter) -> tuple[float, Place | None]:
    """The standard deviation that a table began with, and where the first module that holds it was built."""
    value = recording.initial.get(id(table), table).detach().float()
    owners = [m for model in recording.models() for m in model.modules() if any(p is table for p in parameters_of(m, recurse=False))]
    return float(value.std()), next((p for m in owners if (p := recording.places.get(id(m))) is not None), None)
