"""Records a model and a loader in hand: a plain training loop of our own, under the same recorder as a script."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from trainlint.checking import infer_loss
from trainlint.errors import InputError
from trainlint.evidence import Evidence
from trainlint.measurements import Loop, Optimizers, Unmeasured
from trainlint.probes.session import ProbeSession
from trainlint.record.environment import environment
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.restore import untouched
from trainlint.record.structure import map_tensors
from trainlint.registry import Catalogue
from trainlint.settings import Settings

__all__ = ["record_objects"]

_OWN_LOOP = "check() runs a loop of its own; `trainlint scan` judges the one in your script"


def record_objects(
    model: Any, loader: Any, catalogue: Catalogue, settings: Settings, *, loss_fn: Callable[..., Tensor] | None,
    optimizer: Optimizer | Sequence[Optimizer] | None, val_loader: Iterable[Any] | None, scheduler: Any,
    step: Callable[[nn.Module, Any], Tensor] | None, device: str | None,
) -> tuple[Evidence, str]:  # fmt: skip
    """Take a few steps, measure, put everything back; returns the evidence and the model's name."""
    _require_usable(model, loader, val_loader)
    notes: list[str] = []
    optimizers = _optimizers(model, optimizer, notes)
    place = torch.device(device) if device else next((p.device for p in model.parameters()), torch.device("cpu"))
    loss = step or _StepFunction(loss_fn, notes)
    evidence = Evidence()
    recorder = Recorder(settings, Frames(), lambda recording: None)
    loaders = [entry for entry in (loader, val_loader) if entry is not None]
    with untouched([model], optimizers, [scheduler] if scheduler is not None else [], loaders):
        with listening(recorder):
            for own in optimizers:
                recorder.optimizer_built(own)
            with contextlib.suppress(StopRecording):
                _loop(model, loader, val_loader, optimizers, loss, place, settings)
        recorder.finish()
        recorder.recording.notes += notes
        session = ProbeSession(recorder.recording, settings)
        session.judge(catalogue)
        evidence.measurements = {kind.name: item for kind, item in session.known.items()}
        evidence.seconds, evidence.proofs = session.seconds, session.proofs
    evidence.measurements["loop"] = Unmeasured(name=Loop.name, reason=_OWN_LOOP)
    if optimizer is None:
        evidence.measurements["optimizers"] = Unmeasured(name=Optimizers.name, reason="no optimizer was handed to check()")
        evidence.measurements["learning_rate"] = Unmeasured(
            name="learning_rate", reason="no optimizer was handed to check(), so there is no learning rate of yours to judge"
        )
    evidence.status = {
        "notes": recorder.recording.notes,
        "step_seconds": recorder.recording.step_time,
        "environment": environment(settings),
    }
    return evidence, type(model).__name__


def _loop(
    model: nn.Module, loader: Iterable[Any], val_loader: Iterable[Any] | None, optimizers: list[Optimizer], loss: Callable[[nn.Module, Any], Tensor],
    device: torch.device, settings: Settings,
) -> None:  # fmt: skip
    """Two short epochs with a validation pass between them."""
    seen = 0
    for _ in range(2):
        model.train()
        for batch in itertools.islice(_batches(loader, "loader"), settings.train_batches):
            seen += 1
            for optimizer in optimizers:
                optimizer.zero_grad()
            value = _scalar(loss(model, _moved(batch, device)))
            value.backward()
            for optimizer in optimizers:
                optimizer.step()
        if not seen:
            msg = (
                "the loader gave no batch: is its dataset empty, smaller than a batch with drop_last=True, or a generator that was used up?"
            )
            raise InputError(msg)
        if val_loader is not None:
            model.eval()
            with torch.no_grad():
                for batch in itertools.islice(_batches(val_loader, "val_loader"), settings.val_batches):
                    loss(model, _moved(batch, device))


def _batches(loader: Iterable[Any], name: str) -> Iterable[Any]:
    try:
        yield from loader
    except StopRecording:
        raise
    except Exception as error:
        msg = f"{name} raised {type(error).__name__}: {error}"
        raise InputError(msg) from error


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        msg = f"the loss must be one number, got {shown}: reduce it in loss_fn or step"
        raise InputError(msg)
    if not value.requires_grad:
        msg = "the loss is not connected to any trainable parameter (requires_grad is False): all parameters are frozen, or the forward leaves the graph"
        raise InputError(msg)
    return value


class _StepFunction:
    """Calls the model on a batch and finds the loss: given, returned by the model, or inferred once."""

    def __init__(self, loss_fn: Callable[..., Tensor] | None, notes: list[str]) -> None:
        self.loss_fn = loss_fn
        self.notes = notes

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, keywords, target = _split(batch)
        try:
            output = model(*inputs, **keywords)
        except (TypeError, RuntimeError, ValueError) as error:
            shapes = ", ".join(
                f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in (*inputs, *keywords.values()) if isinstance(t, Tensor)
            )
            msg = f"{type(model).__name__} cannot be called on a batch of the loader ({shapes}): {error}. Pass step=(model, batch) -> loss if it needs another call"
            raise InputError(msg) from error
        if self.loss_fn is None:
            returned = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
            if isinstance(output, Tensor) and output.numel() == 1 and output.dim() == 0:
                returned = output
            if isinstance(returned, Tensor):
                return returned
            self.loss_fn, name = infer_loss(output, target)
            self.notes.append(f"no loss_fn was given; {name} was inferred from output and target")
        output = output.logits if not isinstance(output, Tensor) and hasattr(output, "logits") else output
        return self.loss_fn(output, target)


def _split(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    if isinstance(batch, Mapping):
        target = next((batch[k] for k in ("labels", "label", "target", "targets", "y") if k in batch), None)
        return (), dict(batch), target
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        return tuple(batch[:-1]), {}, batch[-1]
    return (batch[0] if isinstance(batch, list | tuple) and batch else batch,), {}, None


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Mapping) and not isinstance(batch, dict):
        batch = dict(batch)
    return map_tensors(batch, lambda t: t if t.device == device else t.to(device))


def _optimizers(model: nn.Module, optimizer: Any, notes: list[str]) -> list[Optimizer]:
    if optimizer is None:
        trainable = [p for p in model.parameters() if p.requires_grad]
        if not trainable:
            msg = f"{type(model).__name__} has no parameter with requires_grad=True, so there is nothing to train"
            raise InputError(msg)
        notes.append("no optimizer was given; AdamW with learning rate 1e-3 stood in for it")
        return [torch.optim.AdamW(trainable, lr=1e-3)]
    found = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    for entry in found:
        if not isinstance(entry, Optimizer):
            msg = f"optimizer= takes a torch.optim.Optimizer or several, got {type(entry).__name__}"
            raise InputError(msg)
    return found


def _require_usable(model: Any, loader: Any, val_loader: Any) -> None:
    if not isinstance(model, nn.Module):
        msg = f"check(model, loader): the model must be a torch.nn.Module, got {type(model).__name__}"
        raise InputError(msg)
    for name, entry in (("loader", loader), ("val_loader", val_loader)):
        if entry is None and name == "val_loader":
            continue
        if not hasattr(entry, "__iter__"):
            msg = f"{name} must be something to iterate batches from, such as a DataLoader; got {type(entry).__name__}"
            raise InputError(msg)
        if iter(entry) is entry if not isinstance(entry, DataLoader) else False:
            msg = f"{name} is an iterator or generator: checking would use it up. Pass the DataLoader or list it came from"
            raise InputError(msg)
        if isinstance(entry, DataLoader) and isinstance(entry.dataset, IterableDataset) and hasattr(entry.dataset, "__next__"):
            msg = f"the dataset of {name} is its own iterator: checking would use it up. Give it an __iter__ that starts afresh"
            raise InputError(msg)
