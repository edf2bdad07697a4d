"""What a pipeline is made of, and the plain loop that trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset, random_split

__all__ = ["Pipeline"]


LossOf = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Pipeline:
    """Parts of a plain training loop. Calling it trains."""

    data: Callable[[], Dataset[Any]]
    model: Callable[[], nn.Module]
    loss: LossOf
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = field(default=lambda p: AdamW(p, lr=1e-3))
    batch_size: int = 32
    epochs: int = 4
    schedule: Callable[[Optimizer, int], Any] | None = None
    """Of the optimizer and the number of all its steps; stepped after each optimizer step."""
    epoch_schedule: Callable[[Optimizer, int], Any] | None = None
    accumulate: int = 1
    clip: float | None = None
    autocast: bool = False

    def __call__(self) -> None:
        train_set, val_set = random_split(self.data(), [0.8, 0.2])
        train_loader = DataLoader(train_set, self.batch_size, shuffle=True, drop_last=True)
        val_loader = DataLoader(val_set, 2 * self.batch_size)
        model = self.model()
        optimizer = self.optimizer([p for p in model.parameters() if p.requires_grad])
        schedule = self.schedule(optimizer, self.epochs * len(train_loader) // self.accumulate) if self.schedule else None
        by_epoch = self.epoch_schedule(optimizer, self.epochs) if self.epoch_schedule else None
        for _ in range(self.epochs):
            model.train()
            for number, batch in enumerate(train_loader):
                with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                    loss = self.loss(model, batch)
                (loss / self.accumulate).backward()
                if (number + 1) % self.accumulate:
                    continue
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                optimizer.step()
                optimizer.zero_grad()
                if schedule is not None:
                    schedule.step()
            model.eval()
            with torch.no_grad():
                for batch in val_loader:
                    self.loss(model, batch)
            if by_epoch is not None:
                by_epoch.step()
