"""Records a model and a loader in hand: a plain training loop of our own, under the same recorder as a script."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from trainlint.errors import InputError
from trainlint.evidence import Evidence
from trainlint.measurements import Optimizers, Unmeasured
from trainlint.probes.session import ProbeSession
from trainlint.record.environment import environment
from trainlint.record.frames import Frames, Place
from trainlint.record.frameworks import Parts
from trainlint.record.hooks import listening
from trainlint.record.parameters import parameters_of
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.record.recording import Recording
from trainlint.record.restore import untouched
from trainlint.record.step_function import StepFunction, guarded_step
from trainlint.record.structure import map_tensors
from trainlint.registry import Catalogue
from trainlint.settings import Settings

__all__ = ["record_objects"]

#: Batches of the second epoch.
_SECOND = 2


def record_objects(
    parts: Parts, catalogue: Catalogue, settings: Settings, *, loss_fn: Callable[..., Tensor] | None, device: str | None
) -> tuple[Evidence, str]:
    """Take a few steps, measure, put everything back; returns the evidence and the model's name."""
    model, loader, val_loader = parts.model, parts.loader, parts.val_loader
    _require_usable(model, loader, val_loader)
    notes = list(parts.notes)
    optimizers = _optimizers(model, parts.optimizer, notes)
    place = _device(model, device)
    own = StepFunction(loss_fn, notes)
    loss = guarded_step(parts.step) if parts.step else own
    val_loss = parts.val_step or loss
    optimizer, scheduler = parts.optimizer, parts.scheduler
    evidence = Evidence()
    recorder = Recorder(settings, Frames(), lambda recording: None)
    recorder.writer.shadows.closed = parts.step is None  # our own step moves no second set of weights
    loaders = [entry for entry in (loader, val_loader) if entry is not None]
    _know_sources(recorder.recording, model, loaders)
    with untouched([model], optimizers, [scheduler] if scheduler is not None else [], loaders):
        with listening(recorder), torch.inference_mode(False), torch.enable_grad():
            for built in optimizers:
                recorder.optimizer_built(built)
            with contextlib.suppress(StopRecording):
                _loop(model, loader, val_loader, optimizers, loss, val_loss, place, settings)
        recorder.finish()
        recorder.recording.notes += notes
        recorder.recording.own_loop = True
        session = ProbeSession(recorder.recording, settings)
        session.judge(catalogue)
        evidence.measurements = {kind.name: item for kind, item in session.known.items()}
        evidence.seconds, evidence.proofs = session.seconds, session.proofs
    if optimizer is None:
        _without_optimizers(evidence)
        evidence.measurements["learning_rate"] = Unmeasured(
            name="learning_rate", reason="no optimizer was handed to check(), so there is no learning rate of yours to judge"
        )
    evidence.status = {
        "notes": recorder.recording.notes,
        "cut_short": recorder.recording.cut_short,
        "step_seconds": recorder.recording.step_time,
        "environment": environment(settings),
    }
    return evidence, type(model).__name__


def _without_optimizers(evidence: Evidence) -> None:
    """The optimizer that stood in is not the user's to be judged."""
    found = evidence.measurements[Optimizers.name]
    if isinstance(found, Optimizers):
        evidence.measurements[Optimizers.name] = replace(found, optimizers=())


def _know_sources(recording: Recording, model: nn.Module, loaders: Iterable[Any]) -> None:
    """What was built before it was handed over is found where its class is written."""
    known: dict[type, Place | None] = {}
    for made in (*model.modules(), *(entry.dataset for entry in loaders if isinstance(entry, DataLoader))):
        kind = type(made)
        if kind not in known:
            known[kind] = _class_place(kind, recording.frames)
        recording.places.setdefault(id(made), known[kind])


def _class_place(kind: type, frames: Frames) -> Place | None:
    """Where a class of the user's is written."""
    try:
        file = inspect.getfile(kind)
        return (file, inspect.getsourcelines(kind)[1], "<module>") if frames.is_user(file) else None
    except (OSError, TypeError):  # typed into an interpreter, or built in
        return None


def _device(model: nn.Module, device: str | None) -> torch.device:
    """Where batches go. Raises InputError when the model is nowhere or in several places."""
    places = sorted({str(p.device) for p in parameters_of(model)})
    if "meta" in places:
        msg = f"{type(model).__name__} is on the meta device and holds no values: load its weights, or build it on a real device"
        raise InputError(msg)
    if device is None:
        return torch.device(places[0] if places else "cpu")
    if len(places) == 1 and torch.device(places[0]).type != torch.device(device).type:
        msg = f"device={device!r} was given, but {type(model).__name__} is on {places[0]}: move it with model.to({device!r}), or leave device= out"
        raise InputError(msg)
    return torch.device(device)


def _loop(
    model: nn.Module, loader: Iterable[Any], val_loader: Iterable[Any] | None, optimizers: list[Optimizer], loss: Callable[[nn.Module, Any], Tensor],
    val_loss: Callable[[nn.Module, Any], Any], device: torch.device, settings: Settings,
) -> None:  # fmt: skip
    """A short epoch, a validation pass, and the beginning of another epoch: its order shows in its first batches."""
    seen = 0
    for epoch, most in enumerate((settings.train_batches, _SECOND)):
        model.train()
        _announce(loader, epoch)
        for batch in itertools.islice(_batches(loader, "loader"), most):
            seen += 1
            for optimizer in optimizers:
                optimizer.zero_grad()
            ready = _moved(batch, device)
            _scalar(loss(model, ready)).backward()
            for optimizer in optimizers:
                if isinstance(optimizer, torch.optim.LBFGS):  # it asks for the loss again and again
                    optimizer.step(partial(_again, optimizer, loss, model, ready))
                else:
                    optimizer.step()
        if not seen:
            msg = (
                "the loader gave no batch: is its dataset empty, smaller than a batch with drop_last=True, or a generator that was used up?"
            )
            raise InputError(msg)
        if val_loader is not None and not epoch:
            model.eval()
            with torch.no_grad():
                for batch in itertools.islice(_batches(val_loader, "val_loader"), settings.val_batches):
                    val_loss(model, _moved(batch, device))


def _announce(loader: Any, epoch: int) -> None:
    """Tell the epoch to whoever draws its order from it, as training loops do."""
    batches = getattr(loader, "batch_sampler", None)
    for part in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        if callable(announced := getattr(part, "set_epoch", None)):
            announced(epoch)


def _again(optimizer: Optimizer, loss: Callable[[nn.Module, Any], Tensor], model: nn.Module, batch: Any) -> float:
    optimizer.zero_grad()
    value = _scalar(loss(model, batch))
    value.backward()
    return float(value.detach())


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


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Mapping) and not isinstance(batch, dict):
        batch = dict(batch)
    if not isinstance(batch, Tensor | Mapping | list | tuple) and callable(getattr(batch, "to", None)):
        return batch.to(device)
    return map_tensors(batch, lambda t: t if t.device == device else t.to(device))


def _optimizers(model: nn.Module, optimizer: Any, notes: list[str]) -> list[Optimizer]:
    if optimizer is None:
        trainable = [p for p in parameters_of(model) if p.requires_grad]
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
    lazy = next(
        (m for m in model.modules() if any(is_lazy(t) for t in (*m._parameters.values(), *m._buffers.values()) if t is not None)), None
    )
    if lazy is not None:
        msg = f"{type(model).__name__} holds a {type(lazy).__name__} whose shape is not known yet: run one batch through it first"
        raise InputError(msg)
    for name, entry in (("loader", loader), ("val_loader", val_loader)):
        if entry is None and name == "val_loader":
            continue
        if isinstance(entry, Dataset) and not isinstance(entry, IterableDataset):
            msg = f"{name} is a dataset, which gives samples and not batches: pass DataLoader({type(entry).__name__}(...), batch_size=...)"
            raise InputError(msg)
        if isinstance(entry, DataLoader) and isinstance(entry.dataset, Sized) and not len(entry.dataset):
            msg = f"{name} gave no batch: its dataset is empty"
            raise InputError(msg)
        if not hasattr(entry, "__iter__"):
            msg = f"{name} must be something to iterate batches from, such as a DataLoader; got {type(entry).__name__}"
            raise InputError(msg)
        if iter(entry) is entry if not isinstance(entry, DataLoader) else False:
            msg = f"{name} is an iterator or generator: checking would use it up. Pass the DataLoader or list it came from"
            raise InputError(msg)
        if isinstance(entry, DataLoader) and isinstance(entry.dataset, IterableDataset) and hasattr(entry.dataset, "__next__"):
            msg = f"the dataset of {name} is its own iterator: checking would use it up. Give it an __iter__ that starts afresh"
            raise InputError(msg)
