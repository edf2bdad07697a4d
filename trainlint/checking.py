"""``trainlint.check``: the same checks on a model and a loader in hand, by a plain loop of our own, with everything put back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainlint.errors import InputError
from trainlint.report import Report

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

__all__ = ["check"]


def check(
    model: Any,
    loader: Any = None,
    *,
    loss_fn: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    val_loader: Iterable[Any] | None = None,
    scheduler: Any = None,
    step: Callable[[Any, Any], Tensor] | None = None,
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    budget: float | None = None,
    device: str | None = None,
    seed: int | None = None,
) -> Report:
    """Check a model and its data, and leave both as they were.

    A few training steps are taken and undone: afterwards weights, buffers, gradients, optimizer and scheduler state, training
    modes, ``requires_grad`` and the random generators of torch, NumPy and Python are bit for bit what they were. Settings of the
    project (``[tool.trainlint]`` of the nearest pyproject.toml above the working directory, or trainlint.toml) hold where no
    argument says otherwise.

    Args:
        model: The model to train, a LightningModule, or a Hugging Face Trainer, which brings all the rest. Batches
            ``(inputs..., target)`` are passed positionally, mappings as keywords, other objects as they are.
        loader: Training batches: something that can be iterated more than once, or a LightningDataModule.
        loss_fn: ``loss_fn(output, target) -> scalar``. Without it the model may return its loss (as a scalar, or as ``.loss`` or
            ``["loss"]``); otherwise it is inferred: cross entropy for integer targets with one axis less than the output, binary
            cross entropy for 0/1 targets of the output's shape, mean squared error for other floating targets.
        optimizer: The optimizer to judge, or several. Without it AdamW at 1e-3 is used, and its learning rate is not judged.
        val_loader: Validation batches.
        scheduler: Restored with the rest; when it is stepped only a scan of the script can see.
        step: ``step(model, batch) -> loss``, for anything that ``loss_fn`` does not cover.
        only: Rules to run, by name or code; all when empty.
        ignore: Rules not to run, besides those that the project's settings name.
        budget: Seconds; 120 when the settings say nothing.
        device: Where batches are sent; by default where the model is.
        seed: Seed of the measurements' own randomness.

    Raises:
        InputError: Something handed over cannot be used; the message says what to pass.
        UnknownRuleError: ``only`` or ``ignore`` names no rule.
    """
    from trainlint.config import project_settings
    from trainlint.record.frameworks import unpacked
    from trainlint.record.objects import record_objects
    from trainlint.registry import load_catalogue
    from trainlint.scanning import judge

    if isinstance(only, str) or isinstance(ignore, str):
        msg = "only= and ignore= take a list of rule names, not one string"
        raise InputError(msg)
    settings = project_settings(Path.cwd())
    settings = replace(
        settings,
        select=tuple(only) or settings.select,
        ignore=(*settings.ignore, *ignore),
        budget=settings.budget if budget is None else budget,
        seed=settings.seed if seed is None else seed,
    )
    catalogue = load_catalogue().choose(settings.select, settings.ignore, settings.options)
    began = time.monotonic()
    with unpacked(model, loader, val_loader=val_loader, optimizer=optimizer, scheduler=scheduler, step=step) as parts:
        evidence, name = record_objects(parts, catalogue, settings, loss_fn=loss_fn, device=device)
    return judge(evidence, settings, name=name, seconds=time.monotonic() - began, kind="objects")
