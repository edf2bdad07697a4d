"""Which tensors of a sample hold boxes or points within its picture, and whether those lie alike on both sides of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

__all__ = ["Size", "readings_of", "would_move"]

#: Height and width of a picture in pixels.
Size = tuple[int, int]

#: Fewest pictures, and the fewest points of one.
_FEWEST, _POINTS = 4, 3
#: Coordinates that lie further from their mirrored place than this share of the picture would have to move.
_AWAY = 0.05
#: What the name of boxes says, which may then be told by their middle or by one corner, and their size.
_NAME = "box"


def readings_of(path: str, held: Sequence[tuple[Tensor, Size]]) -> frozenset[str]:
    """How the values at a path can be read as places in all pictures: ``points``, or boxes told by their ``corners``, …; empty where they cannot."""
    filled = [(values.reshape(-1, values.shape[-1]), size) for values, size in held if values.numel()]
    if len(filled) < _FEWEST or len({v.numpy().tobytes() for v, _ in filled}) < 2:
        return frozenset()
    rows = torch.cat([v for v, _ in filled])
    flags = bool(((rows == 0) | (rows == 1)).all())
    shares = bool(((rows.sum(-1) - rows[0].sum()).abs() < 1e-3).all())
    limits = rows.shape[-1] == 4 and bool((rows.diff(dim=-1) >= 0).all())  # or quantiles
    if flags or shares or limits or not bool(rows.isfinite().all()):
        return frozenset()
    if rows.shape[-1] == 4:
        return frozenset.intersection(*(_boxes(v, size, named=_NAME in path.lower()) for v, size in filled))
    points = all(len(v) >= _POINTS and _inside(v, _scale(v, size)) for v, size in filled)
    return frozenset({"points"}) if points else frozenset()


def would_move(values: Tensor, size: Size, axes: Collection[int], ways: Collection[str]) -> bool:
    """Whether coordinates change with a picture that is flipped along ``axes`` (-1: left and right), however they are read."""
    rows = values.detach().cpu().double().reshape(-1, values.shape[-1])
    if not len(rows):
        return False
    ends = _scale(rows, size).flip(0)  # width and height
    middles = {
        "points": lambda: rows,
        "corners": lambda: (rows[:, :2] + rows[:, 2:]) / 2,
        "corner and size": lambda: rows[:, :2] + rows[:, 2:] / 2,
        "middle and size": lambda: rows[:, :2],
    }
    columns = [0 if axis == -1 else 1 for axis in axes]
    return all(bool(((2 * middles[way]() - ends).abs() > 2 * _AWAY * ends)[:, columns].any()) for way in ways)


def _scale(rows: Tensor, size: Size) -> Tensor:
    """Height and width in the unit of the coordinates: 1 where none is larger, else pixels."""
    return torch.ones(2, dtype=torch.double) if float(rows.max()) <= 1 else torch.tensor(size, dtype=torch.double)


def _inside(points: Tensor, scale: Tensor) -> bool:
    return bool((points >= 0).all()) and bool((points <= scale.flip(0)).all())


def _boxes(rows: Tensor, size: Size, *, named: bool) -> frozenset[str]:
    """How to read rows of four so that all are boxes within the picture."""
    scale = _scale(rows, size)
    first, second = rows[:, :2], rows[:, 2:]
    found = set()
    if bool((first < second).all()) and _inside(first, scale) and _inside(second, scale):
        found.add("corners")
    if named and bool((second > 0).all()) and _inside(first, scale) and _inside(first + second, scale):
        found.add("corner and size")
    if named and bool((second > 0).all()) and _inside(first - second / 2, scale) and _inside(first + second / 2, scale):
        found.add("middle and size")
    return frozenset(found)
