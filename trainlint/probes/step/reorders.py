"""Rows of a batch that an index brings into another order: on purpose, with their targets, or so that each answers for another sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.predictions import Prediction
from trainlint.probes.step.sources import sample_of
from trainlint.probes.step.spread import NOISE, Spread
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["REORDERS", "allowed_rows", "among", "answers_another", "takes_targets_along"]

#: Operations that bring rows into another order, or combine a few: sorting by length, mixup, negatives from the batch.
REORDERS = frozenset({
    "__getitem__", "__setitem__", "flip", "gather", "index_copy", "index_put_", "index_select", "roll", "take_along_dim",
})  # fmt: skip


def allowed_rows(tape: Tape, spread: Spread, sample: int) -> tuple[set[int], Operation | None]:
    """Rows that a sample may change after reorderings by an index, and the last of those."""
    rows, last = {sample}, None
    for op in tape.operations:
        if op.name in REORDERS and all(spread.within(s, among(rows)) for s in op.inputs if s in tape.producers):
            for slot in Tape._made(op):
                new = spread.rows(slot)
                if new and not new <= rows and 2 * len(new) <= spread.count:
                    rows, last = rows | new, op
    return rows, last


def among(rows: set[int]) -> Callable[[Tensor], Tensor]:
    """Which numbers are of these rows."""
    return lambda numbers: torch.isin(numbers, torch.tensor(sorted(rows), device=numbers.device))


def takes_targets_along(exchange: Exchange, reorder: Operation) -> bool:
    """Whether what enters the loss as targets is brought into the same order, by the same index."""
    targets, index = exchange.tensors.keys() - exchange.leaves.keys(), set(reorder.inputs[1:])
    return any(
        op.name in REORDERS and op.inputs[:1] and op.inputs[0] in targets and index & set(op.inputs[1:]) for op in exchange.tape.operations
    )


def answers_another(exchange: Exchange, prediction: Prediction, change: Tensor, sample: int) -> tuple[Operation, int] | None:
    """The reordering, and the sample whose target is compared with the prediction that this sample alone was made into.

    Only rows that were brought into another order in the model or before it: a loss may set samples against each other.
    """
    labels = exchange.labels.get(prediction.target) if prediction.target is not None else None
    if labels is None or labels.shape != change.shape or not exchange.certain:
        return None
    owners = set(sample_of(labels)[change > NOISE * change.max()].tolist())
    if len(owners) != 1 or owners & {-1, sample}:
        return None
    tape = exchange.tape
    for place in sorted(tape.upstream(prediction.slot), reverse=True):
        op = tape.operations[place]
        if op.name in REORDERS and len(op.inputs) > 1:
            behind = op.module is None and any(tape.operations[p].module is not None for p in tape.upstream(op.outputs[0]))
            return None if behind or takes_targets_along(exchange, op) else (op, owners.pop())
    return None
