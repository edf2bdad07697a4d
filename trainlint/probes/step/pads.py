"""Where the padding of a batch's tensor lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pads", "arranged", "beside", "by_mask", "filled_up", "padded", "run_of"]

#: Shortest sequence; sequences with padding, and their different lengths, that make it padding; least share of all positions.
_LENGTH, _ROWS, _LENGTHS, _SHARE = 6, 2, 2, 0.02


#: The same for zeros that end sequences of numbers.
_FRAMES, _FRAME_LENGTHS = 8, 3
#: Pictures of different sizes that make a border one that fills them up, and the most pixels elsewhere that look like it.
_SIZES, _ELSEWHERE = 3, 0.01


@dataclass(frozen=True)
class Pads:
    """The padding of one tensor of the batch."""

    mask: Tensor
    """(samples, time), true where padded."""
    side: str
    value: float
    masked: bool = False


def padded(tensor: Tensor | None, known: list[Tensor]) -> Pads | None:
    """The padding of a (samples, time) tensor of ids or a (samples, time, features) one of numbers.

    Ids: sequences end (or begin) with different numbers of one id that stands at most once elsewhere in each. Where a tensor of
    ``known`` is a mask that is zero (or one) exactly on a stretch of one id, that is taken. Else the first id of each stretch is left
    out: it may be an end mark that serves as padding too. Numbers: frames of zeros only, which stand nowhere else.
    """
    if tensor is None or tensor.shape[0] < _ROWS or tensor.layout is not torch.strided:
        return None
    if tensor.dim() == 3 and tensor.is_floating_point() and tensor.shape[1] >= _FRAMES:
        return _at_one_end((tensor == 0).all(-1), 0.0, most_elsewhere=0, lengths=_FRAME_LENGTHS, sides=("end",))
    if tensor.dim() != 2 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool or tensor.shape[1] < _LENGTH:
        return None
    if int(tensor.min()) in (0, 1) and int(tensor.max()) <= 1:
        return None  # a mask
    for other in known:
        if other.shape == tensor.shape and other is not tensor and (pads := by_mask(tensor, other.to(tensor.device))) is not None:
            return pads
    for side, edge in (("end", tensor[:, -1]), ("start", tensor[:, 0])):
        value = int(torch.mode(edge).values)
        pads = _at_one_end(tensor == value, float(value), most_elsewhere=1, lengths=_LENGTHS, sides=(side,))
        if pads is not None:
            inner = pads.mask & pads.mask.roll(1 if side == "end" else -1, 1)
            return Pads(inner, side, float(value)) if float(inner.float().mean()) >= _SHARE else None
    return None


def _at_one_end(equal: Tensor, value: float, *, most_elsewhere: int, lengths: int, sides: tuple[str, ...]) -> Pads | None:
    for side in sides:
        run = _run(equal, side)
        counts = run.sum(1)
        long = counts[counts >= 2]
        elsewhere = equal.sum(1) - counts
        if (
            len(long) >= _ROWS
            and len(counts.unique()) >= lengths
            and int(elsewhere.max()) <= most_elsewhere
            and float(run.float().mean()) >= _SHARE
            and int(counts.min()) < equal.shape[1]
        ):
            return Pads(run, side, value)
    return None


def _run(equal: Tensor, side: str) -> Tensor:
    return equal.flip(1).long().cumprod(1).flip(1).bool() if side == "end" else equal.long().cumprod(1).bool()


def run_of(ids: Tensor, value: float, side: str) -> Tensor:
    """Where (samples, time) ids have one value without a break up to that side."""
    return _run(ids == value, side)


def beside(run: Tensor, side: str) -> Tensor:
    """The (samples, time) runs of padding with the real position next to each, whose target may be padding where targets are the next token."""
    return run | torch.cat([run[:, 1:], run[:, -1:]], 1) if side == "end" else run | torch.cat([run[:, :1], run[:, :-1]], 1)


def arranged(mask: Tensor, shape: torch.Size) -> Tensor | None:
    """A (samples, time) mask in the shape of the target: as it is, flattened, shifted by one, or with features."""
    for one in (mask, mask[:, 1:]):
        if shape in (one.shape, torch.Size([one.numel()])):
            return one.reshape(shape)
        if len(shape) == 3 and shape[:2] == one.shape:
            return one[..., None].expand(shape)
    return None


def by_mask(ids: Tensor, mask: Tensor) -> Pads | None:
    """The padding that a mask of the same shape marks by zeros or by ones; None where it marks no padding."""
    if mask.dim() != 2 or not bool(((mask == 0) | (mask == 1)).all()):
        return None
    for meaning in (0, 1):
        region = mask == meaning
        values = ids[region]
        if values.numel() and bool((values == values[0]).all()):
            pads = _at_one_end(region, float(values[0]), most_elsewhere=0, lengths=_LENGTHS, sides=("end", "start"))
            if pads is not None:
                return Pads(pads.mask, pads.side, pads.value, masked=True)
    return None


def filled_up(pictures: Tensor) -> Tensor | None:
    """Where pictures (samples, channels, height, width) are filled up to one size, (samples, height, width); None where they are not.

    That is whole rows and columns at the border with one value, which hardly occurs within, and of different extents.
    """
    if not pictures.numel() or pictures.is_complex():
        return None
    found = torch.zeros_like(pictures[:, 0], dtype=torch.bool)
    like = found.clone()
    extents = []
    for corner in (-1, 0):
        equal = (pictures == pictures[:, :, corner, corner, None, None]).all(1)
        border = torch.zeros_like(found)
        for axis in (1, 2):
            whole = equal.all(3 - axis).long()
            run = whole.cumprod(1) if corner == 0 else whole.flip(1).cumprod(1).flip(1)
            extents.append(run.sum(1))
            border |= run.bool().unsqueeze(3 - axis)
        found |= border
        like |= equal & border.flatten(1).any(1)[:, None, None]
    inside = ~found
    if len(torch.stack(extents, 1).unique(dim=0)) < _SIZES or not bool(inside.flatten(1).any(1).all()):
        return None
    return found if float(found.float().mean()) >= _SHARE and float(like[inside].float().mean()) <= _ELSEWHERE else None
