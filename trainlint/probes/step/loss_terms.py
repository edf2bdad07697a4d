"""The terms that a loss is added up from: which are sums over the batch, and by what they are multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainlint.measurements import LossCall
from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["Term", "is_whole_sum", "summed_beside_a_mean", "terms"]

_ADDS, _TAKES = frozenset({"add", "radd", "iadd"}), frozenset({"sub", "isub", "rsub"})
_TIMES, _OVER = frozenset({"mul", "rmul", "imul"}), frozenset({"div", "truediv", "itruediv"})
_THROUGH = frozenset({"squeeze", "float", "to", "neg"})
#: A factor below this is a weight that somebody chose, or a division.
_UNDIVIDED = 0.1
#: Terms that are looked for at most.
_MOST = 32


@dataclass(frozen=True)
class Term:
    """One addend."""

    operation: Operation
    position: int
    factor: float
    """Product of the plain numbers that it is multiplied with, its sign left out."""


def terms(tape: Tape) -> list[Term]:
    """The addends of the loss, back to the first operation that is neither a sum of two nor a product with a plain number."""
    return list(_terms(tape, tape.loss, 1.0, _MOST))


def _terms(tape: Tape, slot: int, factor: float, depth: int) -> Iterator[Term]:
    position = tape.producers.get(slot)
    if position is None or depth == 0:
        return
    op = tape.operations[position]
    name = op.name.strip("_")
    number = next((abs(float(a)) for a in op.args if isinstance(a, int | float) and not isinstance(a, bool)), None)
    if name in _ADDS | _TAKES and op.inputs:
        for part in op.inputs:
            yield from _terms(tape, part, factor, depth - 1)
    elif name in _TIMES | _OVER and number and len(op.inputs) == 1:
        yield from _terms(tape, op.inputs[0], factor * number if name in _TIMES else factor / number, depth - 1)
    elif name in _THROUGH and len(op.inputs) == 1:
        yield from _terms(tape, op.inputs[0], factor, depth - 1)
    else:
        yield Term(op, position, factor)


def is_whole_sum(tape: Tape, term: Term, samples: int) -> bool:
    """Whether a term adds up all elements of a tensor with a row for each sample."""
    op = term.operation
    given = op.argument(0, "input")
    axes = op.argument(1, "dim")
    shape = tape.shapes.get(given.slot, ()) if isinstance(given, Ref) else ()
    return op.name == "sum" and axes is None and samples > 1 and shape[:1] == (samples,)


def summed_beside_a_mean(tape: Tape, calls: tuple[LossCall, ...]) -> Term | None:
    """A term that is a sum over the whole batch, beside a loss call that takes the mean."""
    parts = terms(tape)
    means = [t for t in parts if t.position in tape.observed]
    if len(means) != len(calls) or not calls or any(c.reduction != "mean" for c in calls) or not all(t.factor == 1 for t in means):
        return None
    return next((t for t in parts if t.factor >= _UNDIVIDED and is_whole_sum(tape, t, calls[0].batch_size)), None)
