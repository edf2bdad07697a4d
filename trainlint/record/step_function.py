"""The forward half of a step of check(): the model called on a batch, and its loss."""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.errors import InputError, first_line
from trainlint.record.frames import Frames
from trainlint.record.inferred_loss import infer_loss, prediction
from trainlint.record.parameters import parameters_of
from trainlint.record.recorder import StopRecording
from trainlint.record.structure import tensor_leaves

__all__ = ["StepFunction", "guarded_step"]

_TARGETS = ("labels", "label", "target", "targets", "y")


def guarded_step(step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The user's step; what it raises becomes one message with its line."""

    def guarded(model: nn.Module, batch: Any) -> Any:
        try:
            return step(model, batch)
        except StopRecording:
            raise
        except Exception as error:
            msg = f"the step raised {type(error).__name__}: {first_line(error).rstrip('.')}{_raised_at(error)}; it was given {_described(batch)}"
            raise InputError(msg) from error

    return guarded


def _raised_at(error: BaseException) -> str:
    user = Frames().is_user
    frames = [f for f in traceback.extract_tb(error.__traceback__) if user(f.filename)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _described(batch: Any) -> str:
    """Shapes and types of a batch: ``x [8, 3] float32``."""
    shown = [
        f"{path} {list(t.shape)} {str(t.dtype).removeprefix('torch.')}".strip() for path, t in itertools.islice(tensor_leaves(batch), 6)
    ]
    return f"a {type(batch).__name__} of {', '.join(shown)}" if shown else f"a {type(batch).__name__} without tensors"


class StepFunction:
    """Calls the model on a batch and finds the loss: given, returned by the model, or inferred once."""

    def __init__(self, loss_fn: Callable[..., Tensor] | None, notes: list[str]) -> None:
        self.loss_fn = loss_fn
        self.notes = notes

    def __call__(self, model: nn.Module, batch: Any) -> Any:
        """The loss of the model on a batch; raises InputError when it cannot be had."""
        inputs, keywords, target = _split(model, batch)
        try:
            output = model(*inputs, **keywords)
        except StopRecording:
            raise
        except Exception as error:
            raise InputError(_cannot_call(model, batch, error)) from error
        if self.loss_fn is None:
            returned = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
            if isinstance(output, Tensor) and output.numel() == 1 and output.dim() == 0:
                returned = output
            if isinstance(returned, Tensor):
                return returned
            self.loss_fn, name = infer_loss(output, target)
            self.notes.append(f"no loss_fn was given; {name} was inferred from output and target")
        try:
            return self.loss_fn(prediction(output), target)
        except StopRecording:
            raise
        except Exception as error:
            of = f"an output of {_described(output)} and a target of {_described(target)}"
            msg = f"loss_fn raised {type(error).__name__}: {first_line(error).rstrip('.')}, on {of}; pass a loss_fn=(output, target) that takes them, or step="
            raise InputError(msg) from error


def _cannot_call(model: nn.Module, batch: Any, error: BaseException) -> str:
    name, had = type(model).__name__, _described(batch)
    weights = next((p.dtype for p in parameters_of(model) if p.is_floating_point()), torch.float32)
    floats = {t.dtype for _, t in tensor_leaves(batch) if t.is_floating_point()}
    if weights != torch.float32 and floats - {weights}:
        kind = str(weights).removeprefix("torch.")
        return (
            f"{name} is in {kind} and the loader gives {had}: convert the batch in step=, or keep the model in float32 and use torch.autocast. "
            f"(The model said: {first_line(error).rstrip('.')})"
        )
    return f"{name} cannot be called on a batch of the loader, {had}: {first_line(error).rstrip('.')}. Pass step=(model, batch) -> loss if it needs another call"


def _split(model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Positional inputs, keywords and the target of a batch."""
    if isinstance(batch, Mapping):
        key = next((k for k in _TARGETS if k in batch), None)
        takes = inspect.signature(model.forward).parameters
        everything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        keywords = {k: v for k, v in batch.items() if k != key or everything or k in takes}
        if len(keywords) == 1 and not everything and not set(keywords) & set(takes):
            return tuple(keywords.values()), {}, batch[key] if key else None
        return (), keywords, batch[key] if key else None
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        inputs = tuple(batch[:-1])
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return (), dict(inputs[0]), batch[-1]
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple) and _positional(model) > 1:
            inputs = tuple(inputs[0])
        return inputs, {}, batch[-1]
    if not isinstance(batch, Tensor | list | tuple):
        return (
            (batch,),
            {},
            next((getattr(batch, k) for k in ("y", "labels", "target") if isinstance(getattr(batch, k, None), Tensor)), None),
        )
    return (batch[0] if isinstance(batch, list | tuple) and batch else batch,), {}, None


def _positional(model: nn.Module) -> int:
    """How many positional arguments forward() takes; a large number for ``*args``."""
    takes = inspect.signature(model.forward).parameters.values()
    return (
        99 if any(p.kind is p.VAR_POSITIONAL for p in takes) else sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in takes)
    )
