"""Values that enter a model, which sample and position each belongs to, and the same values with some exchanged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["Source", "labelled", "looked_up", "position_of", "sample_of", "with_noise", "with_others"]

_SPAN = 2**20


@dataclass(frozen=True)
class Source:
    """Floating values that enter the model: a tensor of the batch, or what an embedding looked up."""

    slot: int
    made: bool
    """By an operation, and not by the loader."""
    values: Tensor
    labels: Tensor
    """Which sample and position an element belongs to, for the first axes; see :func:`sample_of` and :func:`position_of`."""
    leaf: int
    """Slot of the batch tensor it comes from."""


def sample_of(labels: Tensor) -> Tensor:
    """Number of the sample; -1 where unknown."""
    return torch.where(labels > 0, (labels - 1).div(_SPAN, rounding_mode="floor"), -1)


def position_of(labels: Tensor) -> Tensor:
    """Index along the sequence; -1 where unknown."""
    return torch.where(labels > 0, (labels - 1) % _SPAN, -1)


def labelled(tensor: Tensor, axis: int) -> Tensor:
    """Labels of a batch tensor's elements: the sample along ``axis``, and the index along the other of the first two axes."""

    def along(wanted: int) -> Tensor:
        return torch.arange(tensor.shape[wanted], device=tensor.device).view([-1 if a == wanted else 1 for a in range(tensor.dim())])

    labels = along(axis) * _SPAN + 1
    return (labels + along(1 - axis) if tensor.dim() > 1 else labels).expand(tensor.shape).contiguous()


def looked_up(op: Operation, tape: Tape) -> int | None:
    """Slot of the ids, for operations that look something up for each of them."""
    if op.name in ("embedding", "one_hot"):
        ids = op.argument(0, "input")
    elif op.name == "__getitem__" and op.inputs and op.inputs[0] in tape.parameters and len(op.inputs) == 2:
        ids = op.args[1]
    else:
        return None
    return ids.slot if isinstance(ids, Ref) else None


def with_others(source: Source, samples: Collection[int]) -> Tensor:
    """The values with those of another sample in the place of each of these; with noise where all others are the same."""
    owner = sample_of(source.labels)
    values = source.values.clone()
    known = sorted(set(owner.flatten().tolist()) - {-1})
    for sample in sorted(samples):
        mine = source.values[owner == sample]
        for other in sorted((k for k in known if k != sample), key=lambda k: (k < sample, k))[:8]:
            theirs = source.values[owner == other]
            if theirs.shape == mine.shape and not torch.equal(theirs, mine):
                values[owner == sample] = theirs
                break
        else:
            values = _noisy(values, owner == sample)
    return values


def with_noise(source: Source, position: int) -> Tensor:
    """The values with noise at one position of all samples."""
    return _noisy(source.values.clone(), position_of(source.labels) == position)


def _noisy(values: Tensor, where: Tensor) -> Tensor:
    held = values[where]
    if not values.is_floating_point():
        values[where] = held.roll(1, -1)  # another class of a one-hot code
        return values
    spread = float(values.float().std(correction=0)) or 1.0
    values[where] = held + (spread * torch.randn_like(held, dtype=torch.float32)).to(held.dtype)
    return values
