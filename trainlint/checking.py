"""``trainlint.check``: the same checks on a model and a loader in hand, by a plain loop of our own, with everything put back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainlint.errors import InputError
from trainlint.finding import Report

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

__all__ = ["check"]


def check(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss_fn: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    val_loader: Iterable[Any] | None = None,
    scheduler: Any = None,
    step: Callable[[nn.Module, Any], Tensor] | None = None,
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    budget: float = 120.0,
    device: str | None = None,
    seed: int | None = None,
) -> Report:
    """Check a model and its data, and leave both as they were.

    A few training steps are taken and undone: afterwards weights, buffers, gradients, optimizer and scheduler state, training
    modes, ``requires_grad`` and the random generators of torch, NumPy and Python are bit for bit what they were.

    Args:
        model: The model to train. Batches ``(inputs..., target)`` are passed positionally, mappings as keywords.
        loader: Training batches; something that can be iterated more than once.
        loss_fn: ``loss_fn(output, target) -> scalar``. Without it the model may return its loss (as a scalar, or as ``.loss`` or
            ``["loss"]``); otherwise it is inferred: cross entropy for integer targets with one axis less than the output, binary
            cross entropy for 0/1 targets of the output's shape, mean squared error for other floating targets.
        optimizer: The optimizer to judge, or several. Without it AdamW at 1e-3 is used, and its learning rate is not judged.
        val_loader: Validation batches.
        scheduler: Restored with the rest; when it is stepped only a scan of the script can see.
        step: ``step(model, batch) -> loss``, for anything that ``loss_fn`` does not cover.
        only: Rules to run, by name or code; all when empty.
        ignore: Rules not to run.
        budget: Seconds.
        device: Where batches are sent; by default where the model is.
        seed: Seed of the measurements' own randomness.

    Raises:
        InputError: Something handed over cannot be used; the message says what to pass.
        UnknownRuleError: ``only`` or ``ignore`` names no rule.
    """
    from trainlint.record.objects import record_objects
    from trainlint.registry import load_catalogue
    from trainlint.settings import Settings

    if isinstance(only, str) or isinstance(ignore, str):
        msg = "only= and ignore= take a list of rule names, not one string"
        raise InputError(msg)
    settings = Settings(select=tuple(only), ignore=tuple(ignore), budget=budget, seed=seed)
    catalogue = load_catalogue().choose(settings.select, settings.ignore)
    began = time.monotonic()
    evidence, name = record_objects(
        model,
        loader,
        catalogue,
        settings,
        loss_fn=loss_fn,
        optimizer=optimizer,
        val_loader=val_loader,
        scheduler=scheduler,
        step=step,
        device=device,
    )
    from trainlint.scanning import judge

    return judge(evidence, settings, name=name, seconds=time.monotonic() - began, kind="objects")


def infer_loss(output: Any, target: Any) -> tuple[Callable[[Any, Any], Any], str]:
    """The loss that output and target suggest, with its name. Raises InputError when they suggest none."""
    import torch
    import torch.nn.functional as F

    if isinstance(output, Mapping) or hasattr(output, "logits"):
        output = output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        msg = f"no loss can be inferred from an output of type {type(output).__name__} and a target of type {type(target).__name__}: pass loss_fn= or step="
        raise InputError(msg)
    if not target.is_floating_point() and output.dim() == target.dim() + 1:
        return F.cross_entropy, "cross entropy"
    if target.is_floating_point() and target.shape == output.shape:
        if bool(((target == 0) | (target == 1)).all()):
            return F.binary_cross_entropy_with_logits, "binary cross entropy with logits"
        return F.mse_loss, "mean squared error"
    msg = (
        f"no loss can be inferred from an output of shape {tuple(output.shape)} and a target of shape {tuple(target.shape)}, "
        f"{str(target.dtype).removeprefix('torch.')}: pass loss_fn=(output, target) -> scalar, or step=(model, batch) -> scalar"
    )
    raise InputError(msg)
