"""Numbers between -1 and 1 that a step casts to one and the same integer, by which a model then looks something up.

Looked for while a step's tensors are still there, among all of its operations: an index carries no gradient, and where the loop draws it the tape that
is cut has only what was looked up. Numbers that were worked out or learned, or that the model takes for something else as well, are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.operation import Operation, Ref

__all__ = ["Cast", "casts", "merged"]

#: Operations that look something up, and where their index stands.
_LOOK_UPS = {
    "embedding": (0, "input"),
    "one_hot": (0, "tensor"),
    "__getitem__": (1, ""),
    "index_select": (2, "index"),
    "take": (1, "index"),
}
_CASTS = frozenset({"int", "long", "short", "to", "type", "type_as"})
#: Operations that keep values but for their shape; those that round them; those that keep equal integers equal.
_SHAPES = frozenset(
    {"clone", "contiguous", "detach", "expand", "flatten", "repeat", "reshape", "squeeze", "unsqueeze", "view", "float", "double"}
)
_ROUNDS = frozenset({"fix", "floor", "trunc"})
_KEEPS_EQUAL = frozenset({"__add__", "__radd__", "add", "clamp", "clamp_max", "clamp_min", "clip", "mul", "sub"}) | _SHAPES
#: Different numbers that must become one, numbers that are looked at, and operations that are followed back.
_DIFFERENT, _LARGEST, _MOST = 8, 2**16, 16


@dataclass(frozen=True)
class Cast:
    """What became of the numbers at one cast, over the steps that were seen."""

    numbers: int
    """Different ones in a step, the fewest."""
    low: float
    high: float
    look_up: str
    collapsed: bool
    """All became one integer, in each step."""
    steps: int = 1


def casts(operations: Sequence[Operation], needed: Collection[int], tensors: Sequence[Tensor | None]) -> dict[Place, Cast]:
    """The casts of a step, by line, whose result is the index of a look-up that leads to the loss.

    Args:
        operations: All of the step.
        needed: Positions of those that lead to the loss.
        tensors: By slot.
    """
    if not any(operations[p].name in _CASTS for p in needed):
        return {}
    step = _Step(operations, tensors)
    found: dict[Place, Cast] = {}
    for position in sorted(needed):
        for place, cast in step.look_up(operations[position]):
            found[place] = merged(found.get(place), cast, steps=0)
    return found


def merged(one: Cast | None, other: Cast, *, steps: int = 1) -> Cast:
    """Both together; ``steps`` is what the second adds to those of the first."""
    if one is None:
        return other
    return Cast(
        numbers=min(one.numbers, other.numbers),
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        look_up=one.look_up,
        collapsed=one.collapsed and other.collapsed,
        steps=one.steps + steps,
    )


class _Step:
    """A step's operations, and what each slot holds."""

    def __init__(self, operations: Sequence[Operation], tensors: Sequence[Tensor | None]) -> None:
        self.operations, self.tensors = operations, tensors
        self.producers = {slot: op for op in operations for slot in op.outputs}

    def look_up(self, op: Operation) -> Iterator[tuple[Place, Cast]]:
        """Yield the cast that gives a look-up its index."""
        slot = _index_of(op)
        if slot is None or (op.module is None and op.name not in ("embedding", "one_hot")):
            return
        index = self.back(slot, _KEEPS_EQUAL)
        cast = self.producers.get(index[-1])
        if cast is None or cast.name not in _CASTS or not cast.inputs or cast.place is None:
            return
        numbers = self.back(cast.inputs[0], _SHAPES | _ROUNDS)
        given, made = self.tensors[numbers[-1]], self.tensors[cast.outputs[0]]
        if given is None or made is None or not _is_cast(given, made) or self.is_used_beside(numbers) or self.is_learned(numbers[-1]):
            return
        low, high = (float(v) for v in torch.aminmax(given.detach().float()))
        different = len(given.detach().unique())
        one = different >= _DIFFERENT and low > -1 and high < 1 and len(made.unique()) == 1
        yield cast.place, Cast(different, low, high, "indexing" if op.name == "__getitem__" else op.name, one)

    def back(self, slot: int, through: frozenset[str]) -> list[int]:
        """The slot, and those that it was made from by operations of some names on one tensor."""
        slots = [slot]
        while (op := self.producers.get(slots[-1])) is not None and len(slots) < _MOST:
            if op.name not in through or len(op.inputs) != 1:
                break
            slots.append(op.inputs[0])
        return slots

    def is_used_beside(self, slots: Sequence[int]) -> bool:
        """Whether a model takes the numbers for something else than a look-up as well, as interpolation does."""
        used = [op for op in self.operations if op.module is not None and any(s in slots for s in op.inputs)]
        return any(op.name not in _CASTS | _SHAPES | _ROUNDS for op in used) or sum(op.name in _ROUNDS for op in used) > 1

    def is_learned(self, slot: int) -> bool:
        """Whether a parameter was at work in the numbers."""
        queue, seen = [slot], {slot}
        while queue:
            current = queue.pop()
            if isinstance(self.tensors[current], nn.Parameter):
                return True
            op = self.producers.get(current)
            new = [s for s in op.inputs if s not in seen] if op is not None else []
            seen.update(new)
            queue += new
        return False


def _index_of(op: Operation) -> int | None:
    """The slot of the one tensor that a look-up takes as its index."""
    if op.name not in _LOOK_UPS:
        return None
    index = op.argument(*_LOOK_UPS[op.name])
    if isinstance(index, tuple):
        tensors = [part for part in index if isinstance(part, Ref)]
        index = tensors[0] if len(tensors) == 1 else None
    return index.slot if isinstance(index, Ref) else None


def _is_cast(given: Tensor, made: Tensor) -> bool:
    if given.layout is not torch.strided or not given.is_floating_point() or made.is_floating_point() or made.dtype is torch.bool:
        return False
    return _DIFFERENT <= given.numel() <= _LARGEST and not given.requires_grad
