"""Describes one tensor of a batch: what kind of data it is, and its values in a few numbers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainlint.measurements import Leaf

__all__ = ["Role", "describe", "is_picture", "looks_channels_last"]

Role = Literal["input", "target", "other"]

#: Different values that are counted, channels or columns that are described, rows that are named.
_MOST_DISTINCT, _MOST_CHANNELS, _MOST_ROWS = 1000, 64, 64
#: Elements up to which values are summed in double precision, and among which different values are counted.
_EXACT, _COUNTED = 2**22, 2**18
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Shorter side from which a (B, H, W, 3) tensor is taken for pictures rather than for points or small feature maps.
_SIDE = 8


def describe(path: str, role: Role, tensor: Tensor, *, beside_tokens: bool = False) -> Leaf:
    """Shape, kind and statistics of a tensor whose first axis is the batch. ``beside_tokens``: the inputs of its batch are token ids."""
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    try:
        values = _plain(tensor)
    except (RuntimeError, NotImplementedError, TypeError):
        return Leaf(path=path, role=role, kind="tensor", shape=shape, dtype=dtype)
    if not values.numel():
        return Leaf(path=path, role=role, kind=_kind(values, role, binary=False, beside_tokens=beside_tokens), shape=shape, dtype=dtype)
    finite = torch.isfinite(values)
    broken = int((~finite).sum())
    known = (values[finite] if broken else values.reshape(-1)).to(torch.float64 if values.numel() <= _EXACT else torch.float32)
    binary = bool(((known == 0) | (known == 1)).all())
    kind = _kind(values, role, binary=binary, beside_tokens=beside_tokens)
    if broken and values.dim() > 1 and bool((known == 0).all()) and bool((values[~finite] == -torch.inf).all()):
        kind = "mask"  # added to attention scores: 0 where allowed, -inf where not
    means, stds = _by_channel(values, finite, kind)
    constant, repeated = _rows(values)
    return Leaf(
        path=path,
        role=role,
        kind=kind,
        shape=shape,
        dtype=dtype,
        minimum=float(known.min()) if known.numel() else 0.0,
        maximum=float(known.max()) if known.numel() else 0.0,
        mean=float(known.mean()) if known.numel() else 0.0,
        std=float(known.std(correction=0)) if known.numel() else 0.0,
        channel_mean=means,
        channel_std=stds,
        distinct=min(torch.unique(known[:_COUNTED]).numel(), _MOST_DISTINCT),
        nonfinite=broken,
        nonfinite_rows=_broken_rows(finite) if broken else (),
        constant_rows=constant,
        repeated_rows=repeated,
        channels_last=looks_channels_last(values),
    )


def is_picture(tensor: Tensor) -> bool:
    """Whether a tensor has the shape of channels-first pictures: (B, C, H, W) with 1, 3 or 4 channels."""
    return tensor.dim() == 4 and tensor.shape[1] in (1, 3, 4) and min(tensor.shape[2:]) >= 4 and not looks_channels_last(tensor)


def looks_channels_last(tensor: Tensor) -> bool:
    """Whether the last axis looks like colours: (B, H, W, 3 or 4)."""
    return tensor.dim() == 4 and tensor.shape[-1] in (3, 4) and tensor.shape[1] not in (1, 3, 4) and min(tensor.shape[1:3]) >= _SIDE


def _plain(tensor: Tensor) -> Tensor:
    """The values on the CPU as a dense, real tensor; booleans become 0 and 1."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    tensor = tensor.cpu()
    if tensor.dtype is torch.bool:
        return tensor.to(torch.uint8)
    if tensor.dtype in (*_INTEGERS, *_FLOATS):
        return tensor
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64)


def _kind(values: Tensor, role: Role, *, binary: bool, beside_tokens: bool) -> str:
    whole = not values.is_floating_point()
    axes = values.dim()
    one_each = axes == 1 or (axes == 2 and values.shape[1] == 1)
    if axes == 0:
        return "scalar"
    if one_each:
        if role == "input" and whole and not binary:
            return "tokens"  # the id of a user, an item, a class to condition on
        return "labels" if whole or (binary and role == "target") else "scalar"
    if is_picture(values) and not (role == "target" and (whole or binary)):
        return "image"
    if whole or (binary and role == "target"):
        if axes > 3 or binary:
            return "mask"
        return "tokens" if role == "input" or beside_tokens else "mask"
    return {2: "table", 3: "sequence"}.get(axes, "tensor")


def _by_channel(values: Tensor, finite: Tensor, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation along axis 1 over finite elements."""
    if kind not in ("image", "table"):
        return (), ()
    means, stds = [], []
    for channel in range(min(values.shape[1], _MOST_CHANNELS)):
        known = values[:, channel][finite[:, channel]].double()
        means.append(float(known.mean()) if known.numel() else 0.0)
        stds.append(float(known.std(correction=0)) if known.numel() else 0.0)
    return tuple(means), tuple(stds)


def _rows(values: Tensor) -> tuple[int, int]:
    """``(constant, repeated)``: samples whose elements are all the same, and samples equal to an earlier one."""
    if values.dim() == 0:
        return 0, 0
    rows = values.reshape(values.shape[0], -1).contiguous()
    constant = int((rows == rows[:, :1]).all(dim=1).sum()) if rows.shape[1] > 1 else 0
    seen = {row.tobytes() for row in rows.view(torch.uint8).numpy()}
    return constant, rows.shape[0] - len(seen)


def _broken_rows(finite: Tensor) -> tuple[int, ...]:
    if finite.dim() == 0:
        return ()
    return tuple((~finite).reshape(finite.shape[0], -1).any(dim=1).nonzero().flatten().tolist()[:_MOST_ROWS])
