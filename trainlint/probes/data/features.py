"""Turns samples into rows of numbers that a cheap linear probe can read, whatever the samples are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["features_of"]

#: Side of the grid that pictures are pooled to; the side at which edges and textures are looked for; filters that look for them.
_GRID, _SIDE, _FILTERS = 8, 32, 32
#: Pixels from one place where a filter is asked to the next: they are pooled anyway.
_STRIDE = 2
#: Pictures that are looked at in one go.
_AT_ONCE = 64
#: Buckets for tokens and for pairs of tokens; stretches that a signal is cut into, and bands of its spectrum.
_BUCKETS, _STRETCHES, _BANDS = 1024, 16, 32
#: Longer rows are projected to this many random directions.
_WIDEST = 1024

Rows = npt.NDArray[np.float64]


def features_of(samples: Sequence[Tensor], kind: str) -> Rows:
    """Rows ``(n, features)`` for ``n`` tensors of one kind (see :class:`~trainlint.measurements.Leaf`), each with a first axis of one."""
    if kind == "tokens":
        return _counts([s.reshape(-1) for s in samples])
    values = [s.detach().cpu().to(torch.float32) for s in samples]
    if kind == "image":
        alike = len({v.shape for v in values}) == 1
        groups = [torch.cat(values[i : i + _AT_ONCE]) for i in range(0, len(values), _AT_ONCE)] if alike else values
        return np.concatenate([_pictures(group.nan_to_num(0.0, 0.0, 0.0)) for group in groups])
    values = [v.nan_to_num(0.0, 0.0, 0.0) for v in values]
    if kind == "sequence" or (kind == "tensor" and len({v.shape for v in values}) > 1):
        return np.stack([_signal(v[0]) for v in values])
    if len({v.shape for v in values}) > 1:  # as an attention mask beside texts of different lengths
        return np.nan_to_num([(v.numel(), float(v.mean()), float(v.std(correction=0))) for v in values])
    return _narrow(torch.cat(values).flatten(1).double().numpy())


def _pictures(images: Tensor) -> Rows:
    """A small grid of colours, and how much of each edge or texture there is where."""
    height, width = images.shape[2:]
    grid = F.adaptive_avg_pool2d(images, (min(_GRID, height), min(_GRID, width)))
    side = [min(_SIDE, max(length, 8)) for length in (height, width)]
    grey = F.interpolate(images.mean(1, keepdim=True), size=side, mode="bilinear", antialias=True, align_corners=False)
    spread = grey.std((1, 2, 3), keepdim=True)
    plain = (grey - grey.mean((1, 2, 3), keepdim=True)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    answers = F.conv2d(F.pad(plain, (2, 2, 2, 2), mode="replicate"), _filters(), stride=_STRIDE).abs()
    parts = [grid.flatten(1), F.adaptive_avg_pool2d(answers, 4).flatten(1), answers.amax((2, 3)), answers.mean((2, 3))]
    means = images.mean((2, 3))
    parts += [means, (images - means[..., None, None]).flatten(2).norm(dim=2) / max(height * width - 1, 1) ** 0.5]
    rows: Rows = torch.cat(parts, dim=1).double().numpy()
    return rows


def _filters() -> Tensor:
    """Random 5 x 5 filters without a mean, the same in every run."""
    drawn = torch.from_numpy(np.random.default_rng(0).standard_normal((_FILTERS, 1, 5, 5))).float()
    drawn = drawn - drawn.mean((2, 3), keepdim=True)
    filters: Tensor = drawn / drawn.norm(dim=(2, 3), keepdim=True)
    return filters


def _counts(texts: Sequence[Tensor]) -> Rows:
    """Square roots of how often each token, and each pair of neighbours, occurs (hashed), rare ones weighing more."""
    rows = np.zeros((len(texts), 2 * _BUCKETS))
    for row, text in zip(rows, texts, strict=True):
        ids = text.detach().cpu().to(torch.int64).numpy()
        np.add.at(row, (ids * 2654435761 % 2**32) % _BUCKETS, 1.0)
        pairs = (ids[:-1] * 1000003 + ids[1:]) * 2654435761 % 2**32
        np.add.at(row, _BUCKETS + pairs % _BUCKETS, 1.0)
    rarity = np.log((1 + len(rows)) / (1 + (rows > 0).sum(0)))
    weighted: Rows = np.sqrt(rows) * rarity
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    return weighted


def _signal(signal: Tensor) -> Rows:
    """Means and spreads of stretches along the longest axis, and the spectrum in bands."""
    flat = signal if signal.dim() == 2 else signal.flatten(1) if signal.dim() > 2 else signal.reshape(1, -1)
    values = (flat if flat.shape[1] >= flat.shape[0] else flat.T).contiguous()  # (channels, time)
    values = values[:: -(-len(values) // 64)]
    mean = F.adaptive_avg_pool1d(values[None], _STRETCHES)[0]
    square = F.adaptive_avg_pool1d(values[None] ** 2, _STRETCHES)[0]
    power = torch.fft.rfft(values - values.mean(1, keepdim=True)).abs()
    bands = F.adaptive_avg_pool1d(power[None], _BANDS)[0]
    parts = [mean.flatten(), (square - mean**2).clamp(min=0).sqrt().flatten(), torch.log1p(bands).flatten()]
    row: Rows = torch.cat(parts).double().numpy()
    return row


def _narrow(rows: Rows) -> Rows:
    """At most ``_WIDEST`` columns: random directions, or means of neighbours where those would take too much memory."""
    narrow = rows
    if rows.shape[1] > 2**16:
        width = -(-rows.shape[1] // _WIDEST)
        narrow = np.pad(rows, ((0, 0), (0, width * _WIDEST - rows.shape[1]))).reshape(len(rows), _WIDEST, width).mean(2)
    elif rows.shape[1] > _WIDEST:
        narrow = rows @ np.random.default_rng(0).standard_normal((rows.shape[1], _WIDEST)) / np.sqrt(_WIDEST)
    return narrow
