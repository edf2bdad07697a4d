"""The optimizer with its parameter groups, and the learning rate of every update."""

from __future__ import annotations

import difflib
import math
from typing import Any, Protocol

from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler as TimmScheduler
from timm.scheduler.wsd_lr import WSDLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from trainlint.errors import UsageError
from trainlint.recipe.settings import Recipe

__all__ = ["Schedule", "build_optimizer", "build_schedule", "cycle_ends"]


class Schedule(Protocol):
    """Sets the learning rates of an optimizer."""

    def step(self, update: int) -> None:
        """Set them for the update with this number, counted from 0 over the whole run."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""

    def restore(self, state: dict[str, Any]) -> None:
        """The reverse of :meth:`state`."""


def build_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """An optimizer of timm's by its name: norms and biases undecayed, layers scaled, only over what ``requires_grad``.

    Raises UsageError for a name that timm does not know.
    """
    known = [str(name) for name in list_optimizers()]
    if recipe.optimizer not in known:
        near = difflib.get_close_matches(recipe.optimizer, known, 1)
        msg = f"timm has no optimizer {recipe.optimizer!r}" + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}")
        raise UsageError(msg)
    # timm's "sgd" is Nesterov's, which needs a momentum; its "momentum" is torch's own SGD.
    name = "momentum" if recipe.optimizer == "sgd" and not recipe.momentum else recipe.optimizer
    return create_optimizer_v2(
        model,
        name,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        filter_bias_and_bn=not recipe.decay_all,
        layer_decay=None if recipe.layer_decay == 1 else recipe.layer_decay,
    )


def build_schedule(optimizer: Optimizer, recipe: Recipe, updates: int) -> Schedule:
    """The recipe's schedule over ``updates`` optimizer steps in all, standing at update 0."""
    if recipe.schedule == "onecycle":
        return _OneCycle(optimizer, recipe, updates)
    return _Timm(_timm_schedule(optimizer, recipe, updates))


def cycle_ends(recipe: Recipe, updates: int) -> frozenset[int]:
    """Numbers of updates after which the learning rate of a cyclic schedule is lowest; none for other schedules."""
    if recipe.schedule != "cyclic":
        return frozenset()
    warm, length = _warm_up(recipe, updates), _cycle(recipe, updates)
    return frozenset(min(warm + number * length, updates) for number in range(1, recipe.cycles + 1))


def _warm_up(recipe: Recipe, updates: int) -> int:
    return min(round(recipe.warmup * updates), updates - 1)


def _cycle(recipe: Recipe, updates: int) -> int:
    return math.ceil((updates - _warm_up(recipe, updates)) / recipe.cycles)


def _timm_schedule(optimizer: Optimizer, recipe: Recipe, updates: int) -> TimmScheduler:
    warm = _warm_up(recipe, updates)
    low = recipe.lr * recipe.min_lr
    common: dict[str, Any] = {"t_in_epochs": False, "warmup_t": warm, "warmup_lr_init": recipe.lr / 100}
    rest = updates - warm
    match recipe.schedule:
        case "cosine":
            return CosineLRScheduler(optimizer, rest, lr_min=low, warmup_prefix=True, **common)
        case "cyclic":
            return CosineLRScheduler(
                optimizer, _cycle(recipe, updates), lr_min=low, cycle_limit=recipe.cycles, warmup_prefix=True, **common
            )
        case "linear":
            return PolyLRScheduler(optimizer, rest, power=1.0, lr_min=low, warmup_prefix=True, **common)
        case "step":
            return StepLRScheduler(optimizer, decay_t=math.ceil(updates / 3), decay_rate=0.1, **common)
        case "inverse-sqrt":
            timescale = max(warm, 1)
            return WSDLRScheduler(optimizer, rest, decay_t=math.ceil(rest / 5), stable_fn="rsqrt", stable_timescale=timescale, decay_fn="linear", **common)  # fmt: skip
        case _:
            return StepLRScheduler(optimizer, decay_t=1, decay_rate=1.0, **common)


class _Timm:
    """timm's schedulers are functions of the update's number."""

    def __init__(self, scheduler: TimmScheduler) -> None:
        self._scheduler = scheduler
        scheduler.step_update(0)

    def step(self, update: int) -> None:
        self._scheduler.step_update(update)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class _OneCycle:
    """Torch's OneCycleLR: the momentum moves against the learning rate."""

    def __init__(self, optimizer: Optimizer, recipe: Recipe, updates: int) -> None:
        inverse = any(key in group for group in optimizer.param_groups for key in ("momentum", "betas"))
        self._scheduler = OneCycleLR(
            optimizer,
            max_lr=[recipe.lr * group.get("lr_scale", 1.0) for group in optimizer.param_groups],
            total_steps=max(updates, 2),
            pct_start=max(recipe.warmup, 0.1),
            cycle_momentum=inverse,
        )

    def step(self, update: int) -> None:
        if update:
            self._scheduler.step()

    def state(self) -> dict[str, Any]:
        return dict(self._scheduler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state)
