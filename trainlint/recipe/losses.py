"""Losses for class labels: hard (B,) or soft (B, C), smoothed, weighted by class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup, mixup_target
from timm.loss import BinaryCrossEntropy
from timm.loss.class_weights import compute_class_weights
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from trainlint.errors import InputError
from trainlint.recipe.settings import Recipe

__all__ = ["Mixer", "build_loss", "class_weights"]


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weights (C,) with mean 1 by the effective number of samples of each class."""
    _, weights = compute_class_weights([float(c) for c in counts], sum(counts), method="effective_num")
    return weights


def build_loss(recipe: Recipe, *, mixing: bool, weights: Tensor | None = None) -> nn.Module:
    """The training loss: logits (B, C) and targets (B,) or, when ``mixing``, (B, C) -> mean over the batch.

    Mixed targets are smoothed where they are mixed, so the loss smooths only hard ones.
    """
    smoothing = 0.0 if mixing else recipe.label_smoothing
    if recipe.loss == "cross-entropy":
        return nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)
    if recipe.loss == "binary-cross-entropy":
        return BinaryCrossEntropy(smoothing=smoothing, weight=weights, sum_classes=True)
    return _Focal(recipe.focal_gamma, smoothing, weights)


class _Focal(nn.Module):
    """Torchvision's focal loss over one-vs-rest scores, summed over the classes."""

    weights: Tensor | None

    def __init__(self, gamma: float, smoothing: float, weights: Tensor | None) -> None:
        super().__init__()
        self.gamma, self.smoothing = gamma, smoothing
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.dim() == 1:
            target = F.one_hot(target, logits.shape[1]).to(logits) * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        loss: Tensor = sigmoid_focal_loss(logits, target.to(logits), alpha=-1, gamma=self.gamma)
        return (loss if self.weights is None else loss * self.weights).sum(1).mean()


class Mixer:
    """MixUp and CutMix by timm, for batches of any size, without touching the loader's own tensors."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        self.classes, self.smoothing, self.prob = classes, recipe.label_smoothing, recipe.mix_prob
        self._mixup = Mixup(
            mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, prob=recipe.mix_prob, label_smoothing=recipe.label_smoothing, num_classes=classes
        )  # fmt: skip

    def strengthen(self, strength: float) -> None:
        """Mix this share, 0 to 1, of the recipe's share of batches."""
        self._mixup.mix_prob = self.prob * strength

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B,) -> images and soft targets (B, classes). Raises InputError for inputs of another kind."""
        if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
            msg = "MixUp and CutMix mix floating images (B, C, H, W); the loader gives something else: set mixup=0 and cutmix=0"
            raise InputError(msg)
        even = len(images) - len(images) % 2  # timm mixes in pairs
        mixed, targets = self._mixup(images[:even].clone(), labels[:even])
        rest = mixup_target(labels[even:], self.classes, 1.0, self.smoothing)
        return torch.cat([mixed, images[even:]]), torch.cat([targets, rest])
