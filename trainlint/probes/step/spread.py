"""How far a change spreads: which rows of each operation's output it reaches, and the first operation that carries it too far."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["NOISE", "Spread"]

#: Share of the largest change below which a difference is the rounding of a kernel. Rows that do not depend on each other are equal
#: bit for bit on a CPU; a softmax over a batch of 1,000 passes on about 0.001.
NOISE = 1e-4

#: Runs the step and shows each operation's results to the function given.
Run = Callable[[Callable[[int, Operation, tuple[Tensor, ...]], None]], object]


class Spread:
    """The rows that differ between two runs of a tape.

    A *row* is a sample (or a position of a sequence), numbered from 0 to ``count``. It may lie along any axis of an output, and an axis
    may hold several entries a row, in blocks (batch first) or in strides (batch last).
    """

    def __init__(self, tape: Tape, count: int, plain: Run, changed: Run) -> None:
        self.tape, self.count = tape, count
        before: dict[int, list[Tensor]] = {}
        self.reached: dict[int, list[Tensor]] = {}
        """Slot of an output that changed -> the numbers of the rows reached, for each way in which its axes can hold them."""

        def remember(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
            before.update((s, _sums(t, count)) for s, t in zip(Tape._made(op), made, strict=False))

        def compare(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
            for slot, tensor in zip(Tape._made(op), made, strict=False):
                rows = list(self._reached(before.get(slot, []), _sums(tensor, count)))
                if rows and rows[0].numel():
                    self.reached[slot] = rows[1:]

        plain(remember)
        changed(compare)

    def _reached(self, before: list[Tensor], after: list[Tensor]) -> Iterator[Tensor]:
        for old, new in zip(before, after, strict=False):
            if old.shape != new.shape:
                return
            difference = (new - old).abs()
            where = (difference > NOISE * difference.max()).nonzero().flatten()
            if old.numel() == 1 or old is before[0]:
                yield where
                continue
            yield torch.unique((where * self.count).div(old.numel(), rounding_mode="floor"))
            yield torch.unique(where % self.count)

    def within(self, slot: int, allowed: Callable[[Tensor], Tensor]) -> bool:
        """Whether an output changed in allowed rows only, by any way to read its axes."""
        return slot not in self.reached or any(bool(allowed(rows).all()) for rows in self.reached[slot])

    def rows(self, slot: int) -> set[int]:
        """The fewest rows that hold the change of an output; none when its axes cannot hold rows."""
        ways = [set(rows.tolist()) for rows in self.reached.get(slot, [])]
        return min(ways, key=len, default=set())

    def first_beyond(self, slot: int, allowed: Callable[[Tensor], Tensor]) -> Operation | None:
        """From an output that changed beyond the allowed rows back to the operation whose own inputs had not."""
        while True:
            position = self.tape.producers.get(slot)
            if position is None:
                return None
            op = self.tape.operations[position]
            beyond = [s for s in op.inputs if s in self.tape.producers and not self.within(s, allowed)]
            if not beyond:
                return op
            slot = beyond[0]


def _sums(tensor: Tensor, count: int) -> list[Tensor]:
    """The sum of all elements, then the sums along each axis that can hold ``count`` rows; weighted, so that a softmax's are not all 1."""
    values = tensor.detach()
    if values.layout is not torch.strided or not values.numel():
        return []
    values = torch.view_as_real(values) if values.is_complex() else values
    precise = torch.float32 if values.device.type == "mps" else torch.float64
    values = torch.nan_to_num(values.to(precise), 0.0, 1.0, -1.0)
    weighted = values * torch.linspace(1.0, 2.0, values.numel(), dtype=precise, device=values.device).view(values.shape)
    axes = [a for a, size in enumerate(tensor.shape) if size and size % count == 0]
    return [weighted.sum().view(1), *(weighted.movedim(a, 0).flatten(1).sum(1) if weighted.dim() > 1 else weighted for a in axes)]
