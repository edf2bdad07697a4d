"""Whether a prediction depends on the place of its sample in the batch.

The samples of the recorded batch are moved on by one place, targets with them, and the forward is run again: each prediction must move
along. It does not where something is added or looked up by the place, such as a positional encoding along the wrong axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.predictions import Prediction
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape
from trainlint.record.verify import corresponding

__all__ = ["Placed", "depends_on_place"]

#: Operations that draw numbers anew for each place.
_DRAWS = frozenset({
    "bernoulli", "bernoulli_", "exponential_", "multinomial", "normal", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "random_", "randperm", "rrelu", "uniform_",
})  # fmt: skip
#: Numbers that are kept of one run to find the operation.
_MOST_KEPT = 2**26


@dataclass(frozen=True)
class Placed:
    """How far predictions depend on the place."""

    share: float
    """Median change of a prediction by its place, over that between samples."""
    operation: Operation | None
    """The first operation whose rows did not move along; None where predictions did."""


def depends_on_place(exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor], recording: Recording) -> Placed | None:
    """The prediction that depends most on its place; None where that cannot be told. ``kept``: the predictions as recorded, by slot."""
    tape, count = exchange.tape, exchange.samples
    rows = [p.slot for p in judged if tape.shapes.get(p.slot, ())[:1] == (count,)]
    held = [t for s, t in exchange.tensors.items() if s not in exchange.axes and t.numel() > 1]
    own = {s: t for s, t in tape.constants.items() if s not in exchange.tensors and count in t.shape}
    if (
        not exchange.certain
        or not rows
        or held
        or not _are_fixed(own, tape, recording)
        or count < 3
        or any(op.name in _DRAWS for op in tape.operations)
    ):
        return None
    before: dict[int, Tensor] = {}
    moved: dict[int, bool] = {}

    def remember(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
        for slot, tensor in zip(Tape._made(op), made, strict=False):
            if (
                tensor.dim()
                and len(tensor) == count
                and tensor.is_floating_point()
                and sum(t.numel() for t in before.values()) < _MOST_KEPT
            ):
                before[slot] = tensor.detach().clone()

    def compare(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
        for slot, tensor in zip(Tape._made(op), made, strict=False):
            if slot in before and before[slot].shape == tensor.shape:
                moved[slot] = _share(before[slot], tensor.detach()) < _ALIKE

    others = {s: t.roll(1, exchange.axes[s]) for s, t in exchange.tensors.items() if s in exchange.axes}
    after = exchange.replayed(others, tuple(rows))
    slot = max(rows, key=lambda s: _share(kept[s], after[s]))
    share = _share(kept[slot], after[slot])
    if share < _ALIKE:
        return Placed(share, None)
    exchange.again((), remember)  # once more, to find the operation: what each has made takes much memory
    exchange.replayed(others, (), compare)
    return Placed(share, _first(tape, slot, moved))


def _are_fixed(own: dict[int, Tensor], tape: Tape, recording: Recording) -> bool:
    """Whether tensors from outside with a row for each place are the same in another step: no state, and nothing of the samples."""
    if not own:
        return True
    others = [b.tape for b in recording.backwards if b.tape is not None and b.tape is not tape and b.tape.signature() == tape.signature()]
    pairs = corresponding(tape, others[-1]) if others else None
    # What is missing from the pairs is one and the same tensor in both steps.
    return pairs is not None and all(s not in pairs or _equal(pairs[s], t) for s, t in own.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


#: Rows that differ by less than this share of what differs between samples have moved along.
_ALIKE = 1e-3


def _share(before: Tensor, after: Tensor) -> float:
    """How far the rows of a run differ from those of the other moved on by one, against how far rows differ from each other."""
    expected = before.roll(1, 0)
    off, usual = ((after - expected).abs(), (expected - before).abs())
    rows = [float(torch.nan_to_num(t.float()).reshape(len(t), -1).amax(1).median()) for t in (off, usual)]
    return rows[0] / rows[1] if rows[1] else 0.0


def _first(tape: Tape, slot: int, moved: dict[int, bool]) -> Operation | None:
    """From a prediction back to the operation whose own inputs moved along."""
    while True:
        op = tape.operations[tape.producers[slot]]
        astray = [s for s in op.inputs if moved.get(s) is False]
        if not astray:
            return op
        slot = astray[0]
