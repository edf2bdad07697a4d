"""Transforms of images, with a strength that can be turned while training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import Compose, RandomApply, TrivialAugmentWide

from trainlint.recipe.settings import Recipe

__all__ = ["TrainTransform", "eval_transform"]


class TrainTransform:
    """Random crop, mirror, auto-augment, normalise, erase: PIL image -> (3, size, size).

    Built anew at each strength, 0 to 1: at 0 the image is only resized and mirrored.
    """

    def __init__(self, recipe: Recipe, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.recipe, self.size, self.mean, self.std = recipe, size, mean, std
        self.strengthen(1.0)

    def strengthen(self, strength: float) -> None:
        """Set how strong augmentation is from now on."""
        recipe = self.recipe
        # Above 9 nothing is left of a posterised image, which Pillow refuses.
        policy = {"rand": f"rand-m{round(recipe.magnitude * strength)}-n2-mstd0.5-mmax9-inc1", "auto": "original-mstd0.5"}.get(
            recipe.augment
        )
        crop = 1 - (1 - recipe.crop) * strength
        stretch = 1 + (4 / 3 - 1) * strength if recipe.crop < 1 else 1.0
        geometry, colour, tensor = create_transform(
            self.size,
            is_training=True,
            scale=(crop, 1.0),
            ratio=(1 / stretch, stretch),
            hflip=recipe.hflip,
            color_jitter=(0.0, 0.0, 0.0),
            auto_augment=policy if strength else None,
            interpolation="bilinear",
            mean=self.mean,
            std=self.std,
            re_prob=recipe.erase * strength,
            separate=True,
        )
        if recipe.augment == "trivial":
            colour = TrivialAugmentWide()
        # Policies without a magnitude are applied to a share of the images instead.
        if recipe.augment in ("trivial", "auto"):
            colour = RandomApply([colour], p=strength)
        self._transform: Callable[[Any], Any] = Compose([geometry, colour, tensor])

    def __call__(self, image: Any) -> Tensor:
        """One image, transformed at random."""
        result: Tensor = self._transform(image)
        return result


def eval_transform(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Any], Tensor]:
    """Resize and normalise, nothing random: PIL image -> (3, size, size)."""
    transform: Callable[[Any], Tensor] = create_transform(size, is_training=False, crop_pct=1.0, crop_mode="squash", interpolation="bilinear", mean=mean, std=std)  # fmt: skip
    return transform
