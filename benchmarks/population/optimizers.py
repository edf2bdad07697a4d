"""Optimizers and schedules as functions that build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

__all__ = ["cosine", "decayed", "one_cycle", "sgd", "third"]


def decayed(lr: float, decay: float = 0.05) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """AdamW with decay on matrices only."""

    def build(parameters: Iterable[nn.Parameter]) -> Optimizer:
        own = list(parameters)
        return AdamW(
            [
                {"params": [p for p in own if p.dim() > 1], "weight_decay": decay},
                {"params": [p for p in own if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=lr,
        )

    return build


def sgd(lr: float, momentum: float = 0.9) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    """SGD with momentum."""
    return lambda p: SGD(p, lr=lr, momentum=momentum)


def one_cycle(peak: float) -> Callable[[Optimizer, int], Any]:
    """One cycle over all steps."""
    return lambda optimizer, steps: OneCycleLR(optimizer, max_lr=peak, total_steps=steps)


def cosine(optimizer: Optimizer, length: int) -> Any:
    """Half a cosine."""
    return CosineAnnealingLR(optimizer, T_max=length)


def third(optimizer: Optimizer, epochs: int) -> Any:
    """A tenth after each third of the epochs."""
    return StepLR(optimizer, step_size=max(1, epochs // 3))
