"""What a sample holds, so that equal ones are found and those that say too little are left out."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainlint.record.structure import tensor_leaves

__all__ = ["POOR", "Content", "content_of", "is_varied", "parts_of"]

#: Compressed bytes below which equal samples mean nothing: blank pictures, short texts, a few whole numbers.
POOR = 40
#: Compressed bytes from which a sample is far from saying little, and how much of it is compressed to see so, in turn.
_RICH, _HEADS = 256, (2**10, 2**14)
#: Bytes from all over a sample, and how many different ones take more than the poor bytes however they are coded: 64 of 6 bits each.
_GLANCE, _VARIED = 512, 64
#: A part of a sample that is this much smaller than the largest, such as a label, says nothing of what it is.
_MUCH_SMALLER = 8
#: Places in a sample whose numbers are looked at.
_PLACES = 16
#: Two axes at least as long make a picture.
_SIDE = 8
_STEPS = np.arange(_PLACES)


@dataclass(frozen=True)
class Content:
    """One sample."""

    digest: bytes
    size: int
    """Bytes, compressed; of the beginning alone where that is enough not to be called little."""
    values: tuple[float, ...] = ()
    """Some of its numbers, always from the same places, when these are no whole numbers by type."""
    picture: bool = False
    """Its largest part has two long axes."""


def content_of(sample: Any, *, glance: bool = False) -> Content:
    """The large parts of a sample: its picture, its row, its text, a graph's nodes and edges; labels are smaller."""
    parts = parts_of(sample)
    if not parts:
        raise TypeError("a sample holds nothing that can be compared")
    most = max(part.nbytes for part in parts)
    large = [part for part in parts if part.nbytes * _MUCH_SMALLER >= most]
    largest = max(large, key=lambda part: (part.dtype.kind == "f", part.nbytes))
    data = b"".join(np.ascontiguousarray(part).tobytes() for part in large)
    values: list[float] = []
    if largest.dtype.kind == "f" and largest.size:
        values = largest.reshape(-1)[_STEPS * (largest.size - 1) // (_PLACES - 1)].astype(np.float64).tolist()
    return Content(
        hashlib.sha256(data).digest(), _RICH if glance and is_varied(data) else _compressed(data), tuple(values), _is_picture(largest)
    )


def _is_picture(part: npt.NDArray[Any]) -> bool:
    return part.ndim >= 2 and sorted(part.shape)[-2] >= _SIDE


def is_varied(data: bytes) -> bool:
    """Whether a glance at some bytes shows that these say something, however they are compressed."""
    return len(set(data[:: len(data) // _GLANCE | 1])) >= _VARIED  # an odd stride takes each byte of a number in turn


def _compressed(data: bytes) -> int:
    """Bytes of the beginning, compressed; of more of it only where that is nearly blank."""
    for most in _HEADS:
        size = min(len(zlib.compress(data[:most], 1)), len(data))
        if size >= _RICH:
            break
    return size


def parts_of(value: Any, depth: int = 4) -> list[npt.NDArray[Any]]:
    """The arrays of a sample; text as its bytes. Single numbers are left out."""
    if isinstance(value, Tensor):
        return [_plain(value)]
    if isinstance(value, np.ndarray):
        return [value] if value.dtype.kind in "biufc" else []
    if isinstance(value, str | bytes):
        return [np.frombuffer(value.encode() if isinstance(value, str) else value, np.uint8)]
    if isinstance(value, bool | int | float | complex | np.generic) or value is None or depth == 0:
        return []
    if isinstance(value, Mapping):
        return [part for item in value.values() for part in parts_of(item, depth - 1)]
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, int | float) for item in value):
            return [np.asarray(value)]
        return [part for item in value for part in parts_of(item, depth - 1)]
    if hasattr(value, "__array_interface__"):  # a picture of Pillow
        return [np.asarray(value)]
    return [_plain(tensor) for _, tensor in tensor_leaves(value)]


def _plain(tensor: Tensor) -> npt.NDArray[Any]:
    values = tensor.detach().cpu()
    if values.layout is not torch.strided:
        values = values.to_dense()
    found: npt.NDArray[Any] = (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    return found
