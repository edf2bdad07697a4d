"""Describes one tensor of a batch: what kind of data it is, and its values in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainlint.measurements import Leaf

__all__ = ["Role", "describe", "is_picture", "looks_channels_last"]

Role = Literal["input", "target", "other"]
Values = npt.NDArray[Any]
Truth = npt.NDArray[np.bool_]

#: Different values that are counted, channels or columns that are described, rows that are named.
_MOST_DISTINCT, _MOST_CHANNELS, _MOST_ROWS = 1000, 64, 64
#: Elements among which different values are counted, in turn.
_COUNTED = (2**12, 2**14, 2**18)
#: Pictures whose neighbouring pixels are compared.
_MOST_PICTURES = 32
#: Shorter side from which a (B, H, W, 3) tensor is taken for pictures rather than for points or small feature maps.
_SIDE = 8


def describe(path: str, role: Role, tensor: Tensor, *, beside_tokens: bool = False) -> Leaf:
    """Shape, kind and statistics of a tensor whose first axis is the batch. ``beside_tokens``: the inputs of its batch are token ids."""
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    try:
        values = _plain(tensor)
    except (RuntimeError, NotImplementedError, TypeError):
        return Leaf(path=path, role=role, kind="tensor", shape=shape, dtype=dtype)
    finite = np.isfinite(values)
    broken = int(values.size - np.count_nonzero(finite))
    known = values[finite] if broken else values.reshape(-1)
    if not known.size:
        return Leaf(path=path, role=role, kind=_kind(values, role, False, beside_tokens), shape=shape, dtype=dtype, nonfinite=broken)
    kind = _kind(values, role, bool(((known == 0) | (known == 1)).all()), beside_tokens)
    if broken and values.ndim > 1 and not known.any() and bool((values[~finite] == -np.inf).all()):
        kind = "mask"  # added to attention scores: 0 where allowed, -inf where not
    means, stds = _by_channel(values, finite, kind)
    constant, repeated = _rows(values)
    commonest, share = _commonest(values) if kind == "tokens" and values.ndim == 2 and values.shape[1] > 1 else (0.0, 0.0)
    return Leaf(
        path=path,
        role=role,
        kind=kind,
        shape=shape,
        dtype=dtype,
        minimum=float(known.min()),
        maximum=float(known.max()),
        mean=float(known.mean(dtype=np.float64)),
        std=float(known.std(dtype=np.float64)),
        channel_mean=means,
        channel_std=stds,
        distinct=_distinct(known),
        commonest=commonest,
        commonest_share=share,
        nonfinite=broken,
        nonfinite_rows=_broken_rows(finite) if broken else (),
        constant_rows=constant,
        repeated_rows=repeated,
        channels_last=looks_channels_last(shape),
        interleaved=_interleaved(values) if kind == "image" and shape[1] > 1 and not broken else 0.0,
    )


def is_picture(shape: Sequence[int]) -> bool:
    """Whether this is the shape of channels-first pictures: (B, C, H, W) with 1, 3 or 4 channels."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) >= 4


def looks_channels_last(shape: Sequence[int]) -> bool:
    """Whether the last axis looks like colours: (B, H, W, 3 or 4)."""
    return len(shape) == 4 and shape[-1] in (3, 4) and shape[1] not in (1, 3, 4) and min(shape[1:3]) >= _SIDE


def _plain(tensor: Tensor) -> Values:
    """The values as a dense, real array; booleans become 0 and 1."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    tensor = tensor.cpu()
    if tensor.dtype is torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def _kind(values: Values, role: Role, binary: bool, beside_tokens: bool) -> str:
    whole = values.dtype.kind in "iu"
    axes = values.ndim
    if axes == 0:
        return "scalar"
    if axes == 1 or (axes == 2 and values.shape[1] == 1):
        if role == "input" and whole and not binary:
            return "tokens"  # the id of a user, an item, a class to condition on
        return "labels" if whole or (binary and role == "target") else "scalar"
    if is_picture(values.shape) and not (role == "target" and (whole or binary)):
        return "image"
    if whole and axes > 3 and not binary:
        return "mask" if role == "target" else "tensor"
    if whole or (binary and role == "target"):
        return "tokens" if not binary and (role == "input" or beside_tokens) else "mask"
    return {2: "table", 3: "sequence"}.get(axes, "tensor")


def _by_channel(values: Values, finite: Truth, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation along axis 1 over finite elements."""
    if kind not in ("image", "table"):
        return (), ()
    channels = range(min(values.shape[1], _MOST_CHANNELS))
    known = [found if (found := values[:, c][finite[:, c]]).size else np.zeros(1) for c in channels]
    return tuple(float(k.mean(dtype=np.float64)) for k in known), tuple(float(k.std(dtype=np.float64)) for k in known)


def _rows(values: Values) -> tuple[int, int]:
    """``(constant, repeated)``: samples whose elements are all the same, and samples equal to an earlier one."""
    if values.ndim == 0:
        return 0, 0
    rows = values.reshape(values.shape[0], -1)
    constant = int((rows == rows[:, :1]).all(axis=1).sum()) if rows.shape[1] > 1 else 0
    return constant, len(rows) - len({row.tobytes() for row in rows})


def _commonest(texts: Values) -> tuple[float, float]:
    """``(token, share)`` of the commonest token of texts (B, T), behind whose last change the rest fills up."""
    changes = texts[:, 1:] != texts[:, :-1]
    ends = np.where(changes.any(1), changes.shape[1] - np.argmax(changes[:, ::-1], axis=1), 1)
    real = texts[np.arange(texts.shape[1]) < ends[:, None]]
    kinds, counts = np.unique(real, return_counts=True)
    top = int(counts.argmax())
    return float(kinds[top]), float(counts[top]) / len(real)


def _distinct(values: Values) -> int:
    """Different values, up to a limit; most are counted after a few, from all over the batch."""
    for counted in _COUNTED:
        found = np.unique(values[:: max(1, values.size // counted)]).size
        if found >= _MOST_DISTINCT or counted >= values.size:
            break
    return min(found, _MOST_DISTINCT)


def _interleaved(pictures: Values) -> float:
    """Variation of pictures (B, C, H, W) against that of the same memory read as (B, H, W, C), along the axis where that gains least."""
    chosen = np.ascontiguousarray(pictures[:_MOST_PICTURES], dtype=np.float32)
    count, channels, height, width = chosen.shape
    pixels = chosen.reshape(count, height, width, channels)
    gains = [_variation(chosen, 2 + axis) / max(_variation(pixels, 1 + axis), 1e-6 * float(chosen.std()), 1e-30) for axis in (0, 1)]
    return min(gains)


def _variation(values: Values, axis: int) -> float:
    return float(np.abs(np.diff(values, axis=axis)).mean())


def _broken_rows(finite: Truth) -> tuple[int, ...]:
    if finite.ndim == 0:
        return ()
    return tuple(np.flatnonzero((~finite).reshape(len(finite), -1).any(axis=1)).tolist()[:_MOST_ROWS])
