"""How to use pretrained weights: the four-way guide by size of the data and likeness to what the weights were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainlint.errors import UsageError
from trainlint.recipe.settings import Recipe

__all__ = ["SMALL", "Advice", "advice"]

SMALL = 100
"""Samples a class below which data counts as small. A rule of thumb."""


@dataclass(frozen=True)
class Advice:
    """What to do, why, and the settings that do it."""

    summary: str
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe with the advice's settings."""
        return recipe.change(**self.settings)


def advice(samples: int, classes: int, *, similar: bool) -> Advice:
    """The guide of CS231n's notes on transfer learning, with this recipe's settings.

    Args:
        samples: Training samples in all.
        classes: Number of classes.
        similar: Whether the data resembles what the weights were trained on (photographs of things for ImageNet; not scans, spectra,
            satellite or microscope images).

    Raises:
        UsageError: There are no samples or no classes.
    """
    if samples < 1 or classes < 1:
        msg = f"advice needs at least one sample and one class, not {samples} and {classes}"
        raise UsageError(msg)
    small = samples / classes < SMALL
    size = f"{samples:,} samples of {classes} classes are {'few' if small else 'many'}"
    if small and similar:
        return Advice(
            "feature extraction: train the head alone",
            f"{size}, and alike: the features fit already, and training them on so little would only spoil them",
            {"tune": "head", "lr": 1e-3, "layer_decay": 1.0},
        )
    if small:
        return Advice(
            "progressive unfreezing from the head down, lower layers slower",
            f"{size}, and different: the upper features do not fit, but the lower ones do and must be kept",
            {"tune": "progressive", "lr": 3e-4, "layer_decay": 0.7},
        )
    if similar:
        return Advice(
            "fine-tune all layers at a small learning rate",
            f"{size}, and alike: enough to move every layer, and little movement is needed",
            {"tune": "all", "lr": 1e-4, "layer_decay": 0.75},
        )
    return Advice(
        "train all layers, from the weights as a starting point",
        f"{size}, but different: the weights still save time against starting from noise, and every layer must move",
        {"tune": "all", "lr": 5e-4, "layer_decay": 0.9},
    )
