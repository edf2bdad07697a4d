"""A KL divergence of a variational autoencoder that is summed over the latent values, beside a reconstruction that is a mean over a sample's values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainlint.probes.step.loss_terms import Term, terms
from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["Outweighing", "outweighing_divergence"]

_RECONSTRUCTIONS = frozenset({
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
})  # fmt: skip
_NOISE = frozenset({"randn_like", "randn", "normal", "normal_", "standard_normal"})
#: Of a formula of mean and variance.
_SPREAD, _FORMULA = (
    frozenset({"exp", "log"}),
    frozenset({"add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "neg", "pow", "square"}),
)
_TIMES, _OVER = frozenset({"mul", "rmul"}), frozenset({"div", "truediv"})
_THROUGH = frozenset({"neg", "float", "to", "squeeze"})
#: Operations that are looked back at, at most: of a formula, and of the sums and factors around it.
_MOST, _CHAIN = 64, 12


@dataclass(frozen=True)
class Outweighing:
    """Such a pair of terms."""

    reconstruction: Operation
    divergence: Operation
    excess: float
    """By how much the divergence weighs more than in the bound of which both are terms: the number of values that the mean is over, times its factor."""
    factor: float
    """What the divergence is multiplied with; 1 in the bound."""


def outweighing_divergence(tape: Tape) -> Outweighing | None:
    """The two terms, where the latent values were drawn with noise of the divergence's shape that only the reconstruction depends on."""
    parts = terms(tape)
    means = [t for t in parts if t.position in tape.observed and t.operation.name in _RECONSTRUCTIONS and _is_mean(tape, t)]
    if len(means) != 1:
        return None
    mean = means[0]
    given = mean.operation.argument(0, "input")
    values = math.prod(tape.shapes.get(given.slot, ())) if isinstance(given, Ref) else 0
    for term in parts:
        if term.position in tape.observed or (summed := _summed(tape, term)) is None:
            continue
        slot, rows, factor = summed
        if _is_divergence(tape, slot) and _drawn_beside(tape, slot, mean, term):
            own = factor / mean.factor
            half = 0.5 if mean.operation.name == "mse_loss" else 1.0  # of the squared error, in the likelihood of unit variance
            return Outweighing(mean.operation, term.operation, half * own * values / rows, own)
    return None


def _is_mean(tape: Tape, term: Term) -> bool:
    _, kwargs = tape.observed[term.position]
    return str(kwargs.get("reduction", "mean")) == "mean" and term.factor > 0


def _summed(tape: Tape, term: Term) -> tuple[int, int, float] | None:
    """``(summed slot, rows, factor)`` of a sum over each row's values of which the mean over rows is taken, in whatever spelling.

    The factor leaves out the half that belongs to the divergence of two normal distributions.
    """
    op: Operation | None = term.operation
    outer, rows, slot, factor = "", 0, -1, term.factor
    reduced: tuple[int, ...] = ()
    for _ in range(_CHAIN):
        name = op.name.strip("_") if op is not None else ""
        if op is None or len(op.inputs) != 1 or name not in {"mean", "sum"} | _TIMES | _OVER | _THROUGH:
            break
        slot = op.inputs[0]
        if name in ("mean", "sum") and not outer:
            outer, reduced = name, tape.shapes.get(slot, ())
            if tape.shapes.get(op.outputs[0], ()):
                return None
        elif name == "sum" and not rows:
            rows = math.prod(reduced)
        elif name in ("mean", "sum"):
            return None
        else:
            factor *= _number(op)
        op = tape.operations[tape.producers[slot]] if slot in tape.producers else None
    if not rows and outer == "sum" and len(reduced) > 1:
        rows = reduced[0]
    return (slot, rows, 2 * factor * (rows if outer == "sum" else 1)) if rows else None


def _number(op: Operation) -> float:
    """What an operation multiplies a tensor with, its sign left out."""
    name, given = op.name.strip("_"), (abs(float(a)) for a in op.args if isinstance(a, int | float) and not isinstance(a, bool) and a)
    number = next(given, 1.0)
    return number if name in _TIMES else 1 / number if name in _OVER else 1.0


def _is_divergence(tape: Tape, slot: int) -> bool:
    """Whether arithmetic of one shape, with a logarithm or an exponential and a square in it, made a tensor."""
    shape, names = tape.shapes.get(slot, ()), set[str]()

    def of_its_shape(op: Operation) -> list[int]:
        return [s for s in op.inputs if tape.shapes.get(s, ()) == shape] if op.name.strip("_") in _SPREAD | _FORMULA else []

    for position in tape.upstream(slot, of_its_shape, _MOST):
        op = tape.operations[position]
        name = op.name.strip("_")
        squared = name in ("pow", "square") or (name == "mul" and len(op.inputs) == 2 and op.inputs[0] == op.inputs[1])
        names.add("square" if squared else name)
    return bool(names & _SPREAD) and "square" in names


def _drawn_beside(tape: Tape, slot: int, mean: Term, term: Term) -> bool:
    """Whether normal noise of a tensor's shape is in one term and not in the other."""
    shape = tape.shapes.get(slot, ())
    reconstruction, own = set(tape.upstream(tape.operations[mean.position].outputs[0])), set(tape.upstream(term.operation.outputs[0]))
    return any(
        op.name.strip("_") in _NOISE and any(tape.shapes.get(s, ()) == shape for s in op.outputs)
        for op in (tape.operations[position] for position in reconstruction - own)
    )
