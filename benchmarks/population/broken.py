"""Pipelines whose loop, data or model is wrong in one way, made from healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset, random_split

from population import POPULATION as HEALTHY
from population.pipeline import Pipeline

__all__ = [
    "Begun",
    "Broken",
    "Ended",
    "across_batch",
    "broken",
    "data_with",
    "detached",
    "freeze_body",
    "large_head",
    "model_with",
    "no_mask",
    "rare",
    "root_of_zero",
    "shuffled_labels",
    "squeeze_loss",
    "summed",
    "with_nan",
]


@dataclass(frozen=True)
class Broken(Pipeline):
    """A pipeline whose loop itself can be wrong."""

    shuffled: bool = True
    sort: bool = False
    clears: str = "after step"
    """``after step``, ``never`` or ``before step`` (which throws the gradients away)."""
    step_first: bool = False
    mode: str = "train"
    """Mode of the model while training; ``once``: train() is called before the first epoch only."""
    val_mode: str = "eval"
    val_grad: bool = False
    schedule_first: bool = False
    stale_optimizer: bool = False
    """The optimizer is built before the output layer is replaced."""
    prepare: Callable[[nn.Module], Any] | None = None
    val_change: Callable[[Tensor], Tensor] | None = None
    keep_graphs: bool = False
    plateau: str = ""

    def __call__(self) -> None:
        whole = self.data()
        train_set, val_set = random_split(whole, [0.8, 0.2])
        if self.sort:
            train_set.indices.sort(key=lambda i: int(whole[i][-1]))
        train_loader = DataLoader(train_set, self.batch_size, shuffle=self.shuffled, drop_last=True)
        val_loader = DataLoader(val_set, 2 * self.batch_size)
        model = self.model()
        if self.prepare is not None:
            self.prepare(model)
        optimizer = self.optimizer([p for p in model.parameters() if p.requires_grad])
        if self.stale_optimizer:
            last = next(n for n, m in reversed(list(model.named_modules())) if isinstance(m, nn.Linear))
            owner, _, name = last.rpartition(".")
            old = model.get_submodule(last)
            setattr(model.get_submodule(owner), name, nn.Linear(old.in_features, old.out_features))
        schedule = self.schedule(optimizer, self.epochs * len(train_loader)) if self.schedule else None
        by_epoch = self.epoch_schedule(optimizer, self.epochs * len(train_loader)) if self.epoch_schedule else None
        plateau = ReduceLROnPlateau(optimizer, mode="min", patience=1) if self.plateau else None
        history: list[Tensor] = []
        model.train()
        for _ in range(self.epochs):
            if self.mode != "once":
                model.train(self.mode == "train")
            for batch in train_loader:
                if self.step_first:
                    optimizer.step()
                    optimizer.zero_grad()
                loss = self.loss(model, batch)
                loss.backward()
                if self.clears == "before step":
                    optimizer.zero_grad()
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                if schedule is not None and self.schedule_first:
                    schedule.step()
                if not self.step_first:
                    optimizer.step()
                if self.clears == "after step" and not self.step_first:
                    optimizer.zero_grad()
                if schedule is not None and not self.schedule_first:
                    schedule.step()
                if self.keep_graphs:
                    history.append(loss)
            model.train(self.val_mode == "train")
            hits = 0.0
            with torch.set_grad_enabled(self.val_grad):
                for batch in val_loader:
                    inputs = [self.val_change(batch[0]), *batch[1:]] if self.val_change else batch
                    self.loss(model, inputs)
                    if self.plateau:
                        hits += float((model(inputs[0]).argmax(1) == inputs[1]).float().mean())
            if by_epoch is not None:
                by_epoch.step()
            if plateau is not None:
                plateau.step(hits / len(val_loader))


def broken(base: str, **changes: Any) -> Broken:
    """A healthy pipeline with something changed."""
    return Broken(**{**vars(HEALTHY[base]), **changes})


def data_with(base: str, change: Callable[..., tuple[Tensor, ...]], **changes: Any) -> Broken:
    """A healthy pipeline on changed tensors."""
    data = HEALTHY[base].data  # type: ignore[attr-defined]
    return broken(base, data=lambda: TensorDataset(*change(*(t.clone() for t in data().tensors))), **changes)


def model_with(base: str, change: Callable[[nn.Module], Any], **changes: Any) -> Broken:
    """A healthy pipeline with a changed model."""
    build = HEALTHY[base].model  # type: ignore[attr-defined]

    def model() -> nn.Module:
        made = build()
        return change(made) or made

    return broken(base, model=model, **changes)


# -- what can be wrong ---------------------------------------------------------------------------------------------------


class Ended(nn.Module):
    """A model with something behind it."""

    def __init__(self, model: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, *inputs: Tensor) -> Tensor:
        """The model's output, changed."""
        return self.end(self.model(*inputs))


class Begun(nn.Module):
    """A model with something before it."""

    def __init__(self, model: nn.Module, begin: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.begin = model, begin

    def forward(self, x: Tensor) -> Tensor:
        """The model's output for a changed input."""
        return self.model(self.begin(x))


def large_head(model: nn.Module) -> None:
    """Start with large logits."""
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=4.0)


def freeze_body(model: nn.Module) -> None:
    """Only the output layer learns, over random features."""
    for parameter in list(model.parameters())[:-2]:
        parameter.requires_grad = False


def with_nan(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every twentieth row lacks a value."""
    x.flatten(1)[::20, 3] = float("nan")
    return x, y


def shuffled_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels joined in another order."""
    return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(5))]


def rare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Few of one class."""
    keep = torch.cat([(y == 0).nonzero().flatten(), (y == 1).nonzero().flatten()[:4]])
    return x[keep], y[keep].clamp(max=1)


def no_mask(model: nn.Module) -> None:
    """A language model that sees what it is to predict."""
    model.forward = lambda ids: model.head(model.blocks(model.tokens(ids) + model.places(torch.arange(ids.shape[1]))))


def across_batch(x: Tensor) -> Tensor:
    """Normalise over the batch instead of the classes."""
    return x - x.mean(0, keepdim=True).mul(2)


def squeeze_loss(model: nn.Module, batch: Any) -> Tensor:
    """(B, 1) against (B,)."""
    return F.mse_loss(model(batch[0]), batch[1].squeeze(1))


def summed(model: nn.Module, batch: Any) -> Tensor:
    """The sum over elements."""
    return (
        F.mse_loss(model(batch[0]), batch[1], reduction="sum")
        if batch[1].dtype.is_floating_point
        else F.cross_entropy(model(batch[0]), batch[1], reduction="sum")
    )


def detached(model: nn.Module, batch: Any) -> Tensor:
    """The features are cut off from the output layer."""
    *body, head = list(model.children())
    features = batch[0]
    for layer in body:
        features = layer(features)
    return F.cross_entropy(head(features.detach()), batch[1])


def root_of_zero(model: nn.Module, batch: Any) -> Tensor:
    """A distance whose gradient at zero is not a number."""
    out = model(batch[0])
    return F.cross_entropy(out, batch[1]) + torch.sqrt((out - out.detach()).square().sum(1)).mean()
