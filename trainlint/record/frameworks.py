"""What a Lightning module, a data module or a Hugging Face Trainer holds, as a plain model, loaders, optimizers and steps.

Nothing of these frameworks is imported: their objects are known by the names of their classes.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from trainlint.errors import InputError

__all__ = ["Parts", "unpacked"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a check works on."""

    model: Any
    loader: Any
    val_loader: Any = None
    optimizer: Optimizer | Sequence[Optimizer] | None = None
    scheduler: Any = None
    step: Callable[[Any, Any], Any] | None = None
    """``step(model, batch) -> loss``; None leaves the call of the model to the check."""
    val_step: Callable[[Any, Any], Any] | None = None
    """What validation does with a batch, if not the same as ``step``."""
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def unpacked(
    model: Any, loader: Any, *, val_loader: Any = None, optimizer: Any = None, scheduler: Any = None, step: Callable[[Any, Any], Any] | None = None,
) -> Iterator[Parts]:  # fmt: skip
    """The parts of what was handed to check(); what had to be set for it is put back afterwards.

    Raises InputError when a part is missing; the message says which and how to pass it.
    """
    given = Parts(model=model, loader=loader, val_loader=val_loader, optimizer=optimizer, scheduler=scheduler, step=step)
    if _is_a(model, "Trainer", "transformers"):
        with _trainer(given) as parts:
            yield parts
    elif _is_a(model, "LightningModule", "lightning"):
        with _lightning(_data_module(given)) as parts:
            yield parts
    else:
        parts = _data_module(given)
        if parts.loader is None:
            msg = "check(model, loader): pass the training DataLoader as the second argument"
            raise InputError(msg)
        if hasattr(parts.model, "_orig_mod"):
            note = "torch.compile was left out: the model was checked as it is written"
            parts = replace(parts, model=parts.model._orig_mod, notes=[*parts.notes, note])
        yield parts


def _is_a(value: Any, name: str, package: str) -> bool:
    return any(c.__name__ == name and package in c.__module__ for c in type(value).__mro__)


# -- Hugging Face ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _trainer(given: Parts) -> Iterator[Parts]:
    trainer = given.model
    if given.loader is not None:
        msg = "a Trainer brings its own data: check(trainer)"
        raise InputError(msg)
    if trainer.train_dataset is None:
        msg = "the Trainer has no train_dataset"
        raise InputError(msg)
    before, prepared = trainer.optimizer, list(trainer.accelerator._dataloaders)
    try:
        yield replace(
            given,
            model=trainer.model,
            loader=trainer.get_train_dataloader(),
            val_loader=given.val_loader or (trainer.get_eval_dataloader() if trainer.eval_dataset is not None else None),
            optimizer=given.optimizer or before or trainer.create_optimizer(),
            step=given.step or (lambda model, batch: trainer.compute_loss(model, trainer._prepare_inputs(batch))),
        )
    finally:
        trainer.optimizer = before
        trainer.accelerator._dataloaders[:] = prepared


# -- Lightning ---------------------------------------------------------------------------------------------------------


def _data_module(given: Parts) -> Parts:
    data = given.loader
    if not _is_a(data, "LightningDataModule", "lightning"):
        return given
    if getattr(data, "trainer", None) is None:
        data.prepare_data()
        data.setup("fit")
    return replace(given, loader=data.train_dataloader(), val_loader=given.val_loader or _own(data, "val_dataloader"))


@contextlib.contextmanager
def _lightning(given: Parts) -> Iterator[Parts]:
    module = given.model
    if not module.automatic_optimization and given.step is None:
        msg = f"{type(module).__name__} optimizes by itself (automatic_optimization = False): scan the script, or pass step=(module, batch) -> loss and optimizer="
        raise InputError(msg)
    loader = given.loader if given.loader is not None else _own(module, "train_dataloader")
    if loader is None:
        msg = f"{type(module).__name__} has no train_dataloader: check(module, loader) or check(module, datamodule)"
        raise InputError(msg)
    optimizer = given.optimizer
    if optimizer is None and "configure_optimizers" in {
        n for c in type(module).__mro__[:-1] if c.__name__ != "LightningModule" for n in vars(c)
    }:
        optimizer = _optimizers(module.configure_optimizers())
    held = {k: copy.copy(v) for k, v in vars(module).items() if isinstance(v, list | dict) and not k.startswith("_")}
    muted = [name for name in ("log", "log_dict") if name not in vars(module)]
    for name in muted:  # outside of a trainer's own loop they warn or raise
        object.__setattr__(module, name, lambda *_, **__: None)
    try:
        yield replace(
            given,
            loader=loader,
            val_loader=given.val_loader or _own(module, "val_dataloader"),
            optimizer=optimizer or None,
            step=given.step or (lambda model, batch: _loss(_called(model.training_step, batch))),
            val_step=None if given.step else _validation(module),
        )
    finally:
        for name in muted:
            object.__delattr__(module, name)
        vars(module).update(held)


def _own(holder: Any, name: str) -> Any:
    """The loader that a module or data module gives, None when it defines none; of several the first."""
    defined = any(name in vars(c) for c in type(holder).__mro__ if not c.__module__.startswith(("lightning.", "pytorch_lightning.")))
    made = getattr(holder, name)() if defined else None
    return made[0] if isinstance(made, list | tuple) and made else made


def _validation(module: Any) -> Callable[[Any, Any], Any] | None:
    own = type(module).validation_step
    if own.__qualname__.startswith("LightningModule."):
        return None
    return lambda model, batch: _called(model.validation_step, batch)


def _called(method: Callable[..., Any], batch: Any) -> Any:
    return (
        method(batch, 0)
        if "batch_idx" in inspect.signature(method).parameters or len(inspect.signature(method).parameters) > 1
        else method(batch)
    )


def _loss(returned: Any) -> Any:
    return returned["loss"] if isinstance(returned, Mapping) and "loss" in returned else returned


def _optimizers(made: Any) -> list[Optimizer]:
    """The optimizers in whatever configure_optimizers() may return."""
    if isinstance(made, Optimizer):
        return [made]
    if isinstance(made, Mapping):
        return _optimizers(made["optimizer"])
    if isinstance(made, Iterable) and not isinstance(made, str | Tensor):
        return [
            o
            for entry in made
            if isinstance(entry, Optimizer | Mapping | list | tuple)
            if not _is_schedule(entry)
            for o in _optimizers(entry)
        ]
    return []


def _is_schedule(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "optimizer" not in entry
