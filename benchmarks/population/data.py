"""Data that comes with scikit-learn or is generated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

__all__ = [
    "digits",
    "flat_digits",
    "forecasts",
    "masks",
    "odd_even",
    "photos",
    "reviews",
    "sentences",
    "sequences",
    "spots",
    "table",
    "tags",
    "text",
]


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    pictures = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return (pictures - 0.305) / 0.376, torch.tensor(labels)


def digits() -> Dataset[Any]:
    """1x8x8, ten classes."""
    return TensorDataset(*_digits())


def flat_digits() -> Dataset[Any]:
    """64 columns, ten classes."""
    pictures, labels = _digits()
    return TensorDataset(pictures.flatten(1), labels)


def photos(count: int = 600) -> Callable[[], Dataset[Any]]:
    """Digits as 3x32x32 pictures in colour."""

    def build() -> Dataset[Any]:
        pictures, labels = _digits()
        large = F.interpolate(pictures[:count], size=32, mode="bilinear") * torch.tensor([1.0, 0.8, 0.6]).reshape(1, 3, 1, 1)
        return TensorDataset(large, labels[:count])

    return build


def odd_even() -> Dataset[Any]:
    """One number a picture: odd or even."""
    pictures, labels = _digits()
    return TensorDataset(pictures, (labels % 2).float().unsqueeze(1))


def tags() -> Dataset[Any]:
    """Five yes-or-no tags a picture."""
    pictures, labels = _digits()
    return TensorDataset(pictures, torch.stack([labels % 2 == 0, labels % 3 == 0, labels > 4, labels < 3, labels % 5 == 1], 1).float())


def table(load: Callable[..., Any], *, classes: bool) -> Callable[[], Dataset[Any]]:
    """A standardised table of scikit-learn's."""

    def build() -> Dataset[Any]:
        x, y = load(return_X_y=True)
        inputs = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
        target = torch.tensor(y) if classes else torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
        return TensorDataset(inputs, target)

    return build


def masks(count: int = 480) -> Dataset[Any]:
    """Bright discs on noise, 1x24x24, with their masks."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:24, :24]
    pictures, drawn = np.empty((count, 1, 24, 24), "float32"), np.empty((count, 1, 24, 24), "float32")
    for i in range(count):
        cy, cx, r = rng.uniform(6, 18), rng.uniform(6, 18), rng.uniform(3, 6)
        drawn[i, 0] = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r
        pictures[i, 0] = rng.normal(0, 0.5, (24, 24)) + 1.5 * drawn[i, 0]
    return TensorDataset(torch.from_numpy(pictures), torch.from_numpy(drawn))


def text(length: int = 32) -> Dataset[Any]:
    """Windows of sums written out; 1,300 windows of token ids."""
    source = "".join(f"{a} plus {b} is {a + b}. " for a in range(40) for b in range(30))
    letters = sorted(set(source))
    ids = torch.tensor([letters.index(c) for c in source])
    starts = torch.arange(0, len(ids) - length - 1, 16)
    return TensorDataset(torch.stack([ids[s : s + length + 1] for s in starts]))


def sequences(count: int = 800) -> Dataset[Any]:
    """Waves of 40 steps with 3 channels; four frequencies to tell apart."""
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 4, count)
    time = np.arange(40) / 40
    phase = rng.uniform(0, 2 * math.pi, (count, 3))
    waves = np.sin(2 * math.pi * (kinds[:, None, None] + 1) * time[None, :, None] + phase[:, None, :]) + rng.normal(0, 0.3, (count, 40, 3))
    return TensorDataset(torch.tensor(waves, dtype=torch.float32), torch.tensor(kinds))


def forecasts(count: int = 800) -> Dataset[Any]:
    """Waves and their next value."""
    inputs, _ = sequences(count).tensors  # type: ignore[attr-defined]
    return TensorDataset(inputs[:, :-1], inputs[:, -1, :1])


def reviews(count: int = 800) -> Dataset[Any]:
    """Token ids padded with 0 to 24, with the lengths; which of three groups of words is most frequent."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, count)
    lengths = rng.integers(6, 24, count)
    ids = np.zeros((count, 24), "int64")
    for i in range(count):
        own = rng.random(lengths[i]) < 0.6
        ids[i, : lengths[i]] = np.where(own, 1 + 20 * labels[i] + rng.integers(0, 20, lengths[i]), rng.integers(1, 80, lengths[i]))
    return TensorDataset(torch.tensor(ids), torch.tensor(lengths), torch.tensor(labels))


def sentences(count: int = 600) -> Dataset[Any]:
    """20 tokens each of 200; a tag for each by its class, every tenth by chance."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 200, (count, 20))
    kinds = rng.integers(0, 6, 200)[ids]
    tags = np.where(rng.random(ids.shape) < 0.1, rng.integers(0, 6, ids.shape), kinds)
    return TensorDataset(torch.tensor(ids), torch.tensor(tags))


def spots(count: int = 480) -> Dataset[Any]:
    """A bright box on noise, 1x24x24, with its corners as shares of the picture."""
    rng = np.random.default_rng(4)
    pictures, corners = rng.normal(0, 0.3, (count, 1, 24, 24)), np.empty((count, 4))
    for i in range(count):
        width, height = rng.integers(5, 12, 2)
        x, y = rng.integers(0, 24 - width), rng.integers(0, 24 - height)
        pictures[i, 0, y : y + height, x : x + width] += 1.5
        corners[i] = np.array([x, y, x + width, y + height]) / 24
    return TensorDataset(torch.tensor(pictures, dtype=torch.float32), torch.tensor(corners, dtype=torch.float32))
