"""Whether a reshape reads memory in another order of axes than it was written in, told from sizes alone.

A reshape moves no element. Where its result has the sizes of the same axes in another order, a transpose was meant: (batch, time, heads * width)
read as (batch, heads, time, width) puts parts of several time steps into one head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

__all__ = ["Reordering", "reordering"]

#: Reshapes into more axes than this are not searched.
_MOST_AXES = 8


@dataclass(frozen=True)
class Reordering:
    """How a reshape should have been written: cut open, axes brought into order, closed."""

    opened: tuple[int, ...]
    """What to reshape to first; the shape as it was where nothing is to be cut."""
    order: tuple[int, ...]
    """The permutation of those axes."""
    closed: tuple[int, ...]
    """What to reshape to after it; the permuted shape where nothing is to be joined."""
    certain: bool
    """Sizes fit no other reading. Neighbours may also have been joined or cut up, as frames are stacked, where one size is a multiple of another."""


def reordering(before: Sequence[int], after: Sequence[int]) -> Reordering | None:
    """What a reshape from one shape to another leaves undone; None where it keeps axes in order, or where sizes cannot tell.

    The first axis must stay, or be joined with others (or freed of them) as when heads are folded into the batch.
    """
    if len(before) < 2 or len(after) < 2 or not all((*before, *after)) or prod(before) != prod(after):
        return None
    batch = min(before[0], after[0])
    if before[0] % batch or after[0] % batch:
        return None
    ours, theirs = _behind(before, batch), _behind(after, batch)
    plain, wanted = [s for s in ours if s > 1], [s for s in theirs if s > 1]
    if max(len(plain), len(wanted)) > _MOST_AXES:
        return None
    if _cuts(plain) <= _cuts(wanted) or _cuts(wanted) <= _cuts(plain):
        return None  # axes are only split, or only joined, where they lie
    certain = not _stackable(plain, wanted)
    order = _in_groups(plain, wanted)
    if order is not None:  # the result in this order is the input cut finer
        axes = _placed(theirs, order)
        opened = (batch, *(theirs[axis] for axis in axes))
        return Reordering(opened, (0, *(axes.index(axis) + 1 for axis in range(len(axes)))), tuple(after), certain)
    order = _in_groups(wanted, plain)
    if order is not None:  # the input in this order is the result cut finer
        return Reordering((batch, *ours), (0, *(axis + 1 for axis in _placed(ours, order))), tuple(after), certain)
    return None


def _behind(shape: Sequence[int], batch: int) -> tuple[int, ...]:
    """Sizes behind the batch; what was folded into it comes first."""
    return tuple(shape[1:]) if shape[0] == batch else (shape[0] // batch, *shape[1:])


def _cuts(sizes: Sequence[int]) -> set[int]:
    """Where axes begin, in elements of memory."""
    return {prod(sizes[i:]) for i in range(1, len(sizes))}


def _stackable(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether each new axis is part of an old one, or whole neighbours with a part of one more."""
    starts = [prod(before[i:]) for i in range(len(before) + 1)]
    for i in range(len(after)):
        low, high = prod(after[i + 1 :]), prod(after[i:])
        parts = 0
        for end, start in pairwise(starts):
            if start < high and low < end:
                inner, outer = max(low, start), min(high, end)
                if outer % inner or inner % start or end % outer:
                    return False
                parts += (inner, outer) != (start, end)
        if parts > 1:
            return False
    return True


def _in_groups(coarse: Sequence[int], fine: Sequence[int]) -> tuple[int, ...] | None:
    """An order of the fine axes in which they are the coarse ones cut up; the one with the fewest exchanges, None without one."""
    found = [
        tuple(sorted(range(len(fine)), key=lambda i, groups=groups: (groups[i], i)))  # type: ignore[misc]
        for groups in _assignments(list(coarse), list(fine))
    ]
    return min(found, key=_exchanges, default=None)


def _assignments(left: list[int], fine: list[int]) -> Iterator[tuple[int, ...]]:
    """For each fine axis the coarse axis that it is a factor of."""
    if not fine:
        if all(size == 1 for size in left):
            yield ()
        return
    for group, size in enumerate(left):
        if size % fine[0] == 0:
            rest = [s // fine[0] if g == group else s for g, s in enumerate(left)]
            for others in _assignments(rest, fine[1:]):
                yield (group, *others)


def _exchanges(order: Sequence[int]) -> int:
    return sum(order[i] > order[j] for i in range(len(order)) for j in range(i + 1, len(order)))


def _placed(sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """An order of the axes larger than one as an order of all, with those of size one where they are."""
    large = [axis for axis, size in enumerate(sizes) if size > 1]
    moved = iter([large[i] for i in order])
    return [axis if size == 1 else next(moved) for axis, size in enumerate(sizes)]
