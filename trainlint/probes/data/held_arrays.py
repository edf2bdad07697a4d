"""The arrays that a dataset holds, as far as reading one of its samples may change them: found, compared and put back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainlint.probes.data.datasets import wrapped
from trainlint.probes.data.split_samples import root_of

__all__ = ["Array", "arrays_read", "copies", "different", "digests", "put_back"]

#: Bytes of an array that are compared as a whole, of a larger one only the sample's row; bytes of all, and members of a container.
_WHOLE, _BYTES, _MEMBERS = 2**24, 2**26, 2048

Array = np.ndarray[Any, Any] | Tensor


def copies(parts: Sequence[Array]) -> list[Array]:
    """The arrays' values as they are."""
    return [part.clone() if isinstance(part, Tensor) else part.copy() for part in parts]


def put_back(parts: Sequence[Any], values: Sequence[Array]) -> None:
    """Write values back into the arrays that have others."""
    for part, value in zip(parts, values, strict=True):
        if different(part, value).any():
            part[...] = value


def different(part: Any, value: Any) -> Any:
    """Which elements differ; NaN does not differ from NaN."""
    return (part != value) & ((part == part) | (value == value))


def arrays_read(dataset: Any, index: int) -> Iterator[Array]:
    """Yield the arrays that reading this sample may change, large ones only where they hold this sample."""
    row = int(root_of(dataset, [index])[1][0])
    left = _BYTES
    for array in _held(dataset, row):
        size = array.nbytes
        part = array if size <= _WHOLE else array[row : row + 1] if row < len(array) else array[:0]
        left -= part.nbytes
        if left < 0:
            return
        yield part


def _held(dataset: Any, row: int) -> Iterator[Array]:
    for one in wrapped(dataset):
        reader = getattr(type(one), "__getitem__", None)
        names = getattr(getattr(reader, "__code__", None), "co_names", ())
        shared = [getattr(reader, "__globals__", {}).get(name) for name in names]
        attributes = getattr(one, "__dict__", {})
        for value in (*(attributes.values() if isinstance(attributes, dict) else ()), *shared):
            for member in _members(value, row):
                if isinstance(member, Tensor) or (isinstance(member, np.ndarray) and member.dtype != object):
                    yield member


def _members(value: Any, row: int) -> Iterator[Any]:
    """Yield an array, or the members of a container of arrays: this sample's where there are many."""
    if isinstance(value, Mapping):
        value = list(value.values()) if type(value) is dict else ()
    elif isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.flat) if value.size <= _MEMBERS else list(value[row : row + 1])
    if not isinstance(value, list | tuple):
        yield value
        return
    for member in value if len(value) <= _MEMBERS else value[row : row + 1]:
        yield from member if isinstance(member, list | tuple) and len(member) <= 8 else (member,)


def digests(parts: Sequence[Array]) -> tuple[int, ...]:
    """What the arrays hold, in a form that can be compared."""
    return tuple(map(_digest, parts))


def _digest(part: Array) -> int:
    plain = part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy() if isinstance(part, Tensor) else np.ascontiguousarray(part)
    return zlib.crc32(plain.view(np.uint8).reshape(-1).data) if plain.size else 0
