"""Train a model by a recipe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils import ModelEmaV3, random_seed
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from trainlint.errors import DivergedError, InputError, first_line
from trainlint.recipe.checkpoint import load_checkpoint, save_checkpoint
from trainlint.recipe.data import balanced_loader, class_counts, set_strength
from trainlint.recipe.evaluation import evaluate, forward, split_batch, to_device
from trainlint.recipe.history import Epoch, History
from trainlint.recipe.layers import hold_frozen_statistics, set_learning_layers
from trainlint.recipe.losses import Mixer, build_loss, class_weights
from trainlint.recipe.optimizers import build_optimizer, build_schedule, cycle_ends
from trainlint.recipe.settings import Recipe

__all__ = ["epoch_seed", "train"]

_WEAKEST = 0.2
"""Strength of augmentation and mixing in the first epoch of a ramp."""


def train(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    recipe: Recipe | None = None,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
    device: torch.device | str | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train ``model`` in place and hand back its history.

    Torch, NumPy and Python are seeded afresh before each epoch from ``recipe.seed``, as is the loader's generator: on the CPU the
    same model, data, recipe and number of threads give the same weights, bit for bit, also when the run was resumed.
    At the end the model holds the weights of the best epoch (``keep_best``) or the last, averaged ones with ``ema``.

    Args:
        model: Any module that maps a batch's inputs to logits (B, C), or with ``loss_fn`` to what that takes. Settings that act on building
            a model (``drop_path``, ``dropout``) change nothing here.
        train_loader: Batches ``(inputs, target)``, with a length. Settings that act on images before batching (``augment``, ``crop``,
            ``hflip``, ``erase``) act only on loaders of :func:`image_folder_problem`.
        val_loader: Batches to evaluate on after each epoch.
        recipe: The settings; the full recipe by default.
        loss_fn: ``loss_fn(output, target) -> scalar`` for other tasks than classification. Needs a recipe without mixing; smoothing,
            focal and class-balanced losses do not apply.
        device: Where to train; where the model is by default.
        out: Folder for ``last.pt``, ``best.pt`` and ``history.csv``, written after each epoch.
        resume: A ``last.pt`` to go on from.
        on_epoch: Called after each epoch; an exception it raises ends the training.

    Raises:
        InputError: The model or a loader cannot be used; the message says what to change.
        DivergedError: The loss is no longer finite.
        UsageError: A setting or the checkpoint does not fit.
    """
    recipe = recipe or Recipe()
    run = _Run(model, train_loader, val_loader, recipe, loss_fn, torch.device(device) if device is not None else None)
    if resume is not None:
        run.restore(load_checkpoint(Path(resume), recipe))
    folder = Path(out) if out is not None else None
    while not run.finished():
        began = time.monotonic()
        row = run.epoch(began)
        if folder is not None:
            run.save(folder)
        if on_epoch is not None:
            on_epoch(row)
    run.deliver()
    return run.history


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch, independent of its neighbours'."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


class _Run:
    """A training's state between epochs."""

    def __init__(
        self, model: nn.Module, train_loader: Iterable[Any], val_loader: Iterable[Any], recipe: Recipe,
        loss_fn: Callable[[Tensor, Tensor], Tensor] | None, device: torch.device | None,
    ) -> None:  # fmt: skip
        if not isinstance(train_loader, Sized) or not len(train_loader):
            msg = "the recipe needs a training loader with a length of at least one batch: its schedules span the whole run"
            raise InputError(msg)
        parameters = list(model.parameters())
        if not parameters:
            msg = f"{type(model).__name__} has no parameters to train"
            raise InputError(msg)
        self.recipe, self.model, self.loss_fn = recipe, model, loss_fn
        self.device = device or parameters[0].device
        model.to(self.device)
        self.train_loader = balanced_loader(train_loader) if recipe.balanced_sampling else train_loader
        self.val_loader = val_loader
        self.updates = len(train_loader) * recipe.epochs
        self.mixer: Mixer | None = None
        self.criterion: Callable[[Tensor, Tensor], Tensor] = loss_fn or self._classification_loss(train_loader)
        if loss_fn is not None and (recipe.mixup or recipe.cutmix):
            msg = "MixUp and CutMix are for class labels: with a loss_fn, pass recipe.without('mixup', 'cutmix')"
            raise InputError(msg)
        set_learning_layers(model, recipe, recipe.epochs)
        self.optimizer = build_optimizer(model, recipe)
        self.schedule = build_schedule(self.optimizer, recipe, self.updates)
        self.snapshots_at = cycle_ends(recipe, self.updates)
        horizon = max(recipe.ema_horizon * self.updates, 1.0)
        self.ema = ModelEmaV3(model, decay=1 - 1 / horizon, use_warmup=True) if recipe.ema else None
        self.half = recipe.amp and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.half)
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.update = 0

    def _classification_loss(self, loader: Iterable[Any]) -> nn.Module:
        inputs, target = split_batch(next(iter(loader)))
        if target.is_floating_point() or target.dim() != 1:
            msg = f"the recipe trains on class labels (B,); the loader's targets are {tuple(target.shape)}, {target.dtype}: pass loss_fn="
            raise InputError(msg)
        mode = self.model.training
        self.model.eval()
        with torch.no_grad():
            classes = forward(self.model, to_device(inputs, self.device)).shape[-1]
        self.model.train(mode)
        recipe = self.recipe
        mixing = bool((recipe.mixup or recipe.cutmix) and recipe.mix_prob)
        if mixing:
            self.mixer = Mixer(recipe, classes)
        weights = class_weights(class_counts(loader, classes)) if recipe.class_balanced else None
        return build_loss(recipe, mixing=mixing, weights=weights).to(self.device)

    @property
    def kept(self) -> nn.Module:
        """The module whose weights are evaluated and handed back."""
        return self.model if self.ema is None else self.ema.module

    def finished(self) -> bool:
        done, recipe = self.history.epochs, self.recipe
        if recipe.patience and done and self.history.stale() >= recipe.patience:
            self.history.stopped_early = len(done) < recipe.epochs
        return len(done) >= recipe.epochs or self.history.stopped_early

    def strength(self, epoch: int) -> float:
        """Of augmentation and mixing in an epoch counted from 0: weak first, stronger later."""
        ramp = self.recipe.ramp * self.recipe.epochs
        return 1.0 if ramp == 0 else min(1.0, _WEAKEST + (1 - _WEAKEST) * epoch / ramp)

    def epoch(self, began: float) -> Epoch:
        """One pass over the training data, and the evaluation after it."""
        epoch = len(self.history.epochs)
        strength = self.strength(epoch)
        self._reseed(epoch)
        set_strength(self.train_loader, strength)
        if self.mixer is not None:
            self.mixer.strengthen(strength)
        set_learning_layers(self.model, self.recipe, epoch)
        self.model.train()
        hold_frozen_statistics(self.model)
        total, samples = torch.zeros((), device=self.device), 0
        for position, batch in enumerate(self.train_loader):
            loss, count = self._step(batch)
            total += loss * count
            samples += count
            if position % 20 == 0 and not math.isfinite(float(loss)):
                self._diverged(epoch)
        if not samples:
            msg = f"the training loader gave no batch in epoch {epoch + 1}: it must begin anew each time it is iterated"
            raise InputError(msg)
        if not math.isfinite(float(total)):
            self._diverged(epoch)
        rate = self.optimizer.param_groups[0]["lr"]
        found = evaluate(self.kept, self.val_loader, loss_fn=self.loss_fn, device=self.device)
        row = Epoch(epoch + 1, rate, strength, float(total) / samples, found.loss, found.accuracy, time.monotonic() - began)
        self.history.epochs.append(row)
        if self.history.best is row:
            self.best = _copy(self.kept)
        return row

    def _step(self, batch: Any) -> tuple[Tensor, int]:
        inputs, target = to_device(split_batch(batch), self.device)
        if self.mixer is not None:
            inputs, target = self.mixer(inputs, target)
        # Set before the step, so that the rate in the groups is the one that was used.
        self.schedule.step(self.update)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.float16, enabled=self.half):
            loss = self.criterion(forward(self.model, inputs), target)
        self.scaler.scale(loss).backward()
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.update += 1
        if self.ema is not None:
            self.ema.update(self.model, step=self.update)
        # The weights as they are: the average reaches back over the restart.
        if self.update in self.snapshots_at:
            self.history.snapshots.append(_copy(self.model))
        return loss.detach().float(), len(target)

    def _reseed(self, epoch: int) -> None:
        seed = epoch_seed(self.recipe.seed, epoch)
        random_seed(seed)
        for holder in (self.train_loader, getattr(self.train_loader, "sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
        set_epoch = getattr(getattr(self.train_loader, "sampler", None), "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)

    def _diverged(self, epoch: int) -> None:
        msg = f"the training loss is no longer finite in epoch {epoch + 1} at learning rate {self.optimizer.param_groups[0]['lr']:.3g}: lower lr, or lengthen warmup"
        raise DivergedError(msg)

    def deliver(self) -> None:
        """Put the weights to hand back into the model."""
        state = self.best if self.recipe.keep_best and self.best is not None else _copy(self.kept)
        self.model.load_state_dict(state)
        self.model.eval()

    def save(self, folder: Path) -> None:
        content: dict[str, Any] = {
            "recipe": self.recipe.to_dict(),
            "history": [asdict(row) for row in self.history.epochs],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "best": self.best,
            "snapshots": self.history.snapshots,
            "update": self.update,
        }
        save_checkpoint(folder / "last.pt", content)
        if self.history.stale() == 0:
            save_checkpoint(folder / "best.pt", {"recipe": content["recipe"], "model": self.best})
        self.history.save_csv(folder / "history.csv")

    def restore(self, content: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.ema is not None:
                self.ema.module.load_state_dict(content["ema"])
        except (KeyError, RuntimeError, ValueError) as error:
            msg = f"the checkpoint belongs to another model than this {type(self.model).__name__}: {first_line(error)}"
            raise InputError(msg) from error
        self.schedule.restore(content["schedule"])
        self.scaler.load_state_dict(content["scaler"])
        self.best, self.update = content["best"], content["update"]
        self.history = History([Epoch(**row) for row in content["history"]], snapshots=content["snapshots"])


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
