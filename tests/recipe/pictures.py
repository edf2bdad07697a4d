"""A small image problem: grey squares whose brightness is their class, as tensors and as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.recipe import Pieces, Recipe


def images(count: int = 24, seed: int = 0) -> TensorDataset:
    """Images (count, 3, 8, 8) of three classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = labels.view(-1, 1, 1, 1) - 1 + 0.3 * torch.randn(count, 3, 8, 8, generator=generator)
    return TensorDataset(pixels, labels)


def loaders(batch: int = 8) -> tuple[DataLoader[object], DataLoader[object]]:
    return DataLoader(images(), batch, shuffle=True), DataLoader(images(seed=1), 24)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))


def problem(recipe: Recipe) -> Pieces:
    return Pieces(net(recipe.seed), *loaders(min(recipe.batch_size, 8)), ("dark", "grey", "bright"))


def write_folder(folder: Path, count: int = 24, splits: tuple[str, ...] = ("train", "val")) -> Path:
    for position, split in enumerate(splits):
        for index, (pixels, label) in enumerate(images(count, seed=position)):
            place = folder / split / "abc"[int(label)]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(((pixels.permute(1, 2, 0) + 2) * 60).clamp(0, 255).byte().numpy()).save(place / f"{index}.png")
    return folder
