"""Pipelines whose loop, data or model is wrong in one way, made from healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from population import POPULATION as HEALTHY
from population.pipeline import Pipeline

__all__ = ["Broken", "broken", "data_with", "model_with"]


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
    divide: Callable[[Dataset[Any], Dataset[Any]], tuple[Dataset[Any], Dataset[Any]]] | None = None
    """Makes the training and the validation part anew."""
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None
    """Parameter groups, in place of all parameters that need gradients."""
    drop_last: bool = True
    average: float | None = None
    """Decay of an average of the weights, which is what gets validated."""

    def __call__(self) -> None:
        whole = self.data()
        train_set, val_set = random_split(whole, [0.8, 0.2])
        if self.sort:
            train_set.indices.sort(key=lambda i: int(whole[i][-1]))
        if self.divide is not None:
            train_set, val_set = self.divide(train_set, val_set)
        train_loader = DataLoader(train_set, self.batch_size, shuffle=self.shuffled, drop_last=self.drop_last)
        val_loader = DataLoader(val_set, 2 * self.batch_size)
        model = self.model()
        if self.prepare is not None:
            self.prepare(model)
        optimizer = self.optimizer(self.groups(model) if self.groups else [p for p in model.parameters() if p.requires_grad])
        if self.stale_optimizer:
            last = next(n for n, m in reversed(list(model.named_modules())) if isinstance(m, nn.Linear))
            owner, _, name = last.rpartition(".")
            old = model.get_submodule(last)
            setattr(model.get_submodule(owner), name, nn.Linear(old.in_features, old.out_features))
        schedule = self.schedule(optimizer, self.epochs * len(train_loader)) if self.schedule else None
        by_epoch = self.epoch_schedule(optimizer, self.epochs * len(train_loader)) if self.epoch_schedule else None
        plateau = ReduceLROnPlateau(optimizer, mode="min", patience=1) if self.plateau else None
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.average)) if self.average else None
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
                if averaged is not None:
                    averaged.update_parameters(model)
                if self.clears == "after step" and not self.step_first:
                    optimizer.zero_grad()
                if schedule is not None and not self.schedule_first:
                    schedule.step()
                if self.keep_graphs:
                    history.append(loss)
            judged = averaged or model
            judged.train(self.val_mode == "train")
            hits = 0.0
            with torch.set_grad_enabled(self.val_grad):
                for batch in val_loader:
                    inputs = [self.val_change(batch[0]), *batch[1:]] if self.val_change else batch
                    self.loss(judged, inputs)
                    if self.plateau:
                        hits += float((judged(inputs[0]).argmax(1) == inputs[1]).float().mean())
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
