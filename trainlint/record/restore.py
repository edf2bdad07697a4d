"""Leaves the user's objects as they were found: weights, buffers, other attributes, gradients, optimizer and scheduler state, random generators."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trainlint.record.attributes import attributes_kept
from trainlint.record.random_state import randomness_kept
from trainlint.record.snapshot import Snapshot, state_tensors

__all__ = ["untouched"]


@contextmanager
def untouched(
    models: Iterable[nn.Module], optimizers: Iterable[Optimizer] = (), schedulers: Iterable[Any] = (), loaders: Iterable[Any] = ()
) -> Iterator[None]:
    """Whatever happens inside, everything is bit for bit as before afterwards."""
    models, optimizers, schedulers = list(models), list(optimizers), list(schedulers)
    tensors = state_tensors(models)
    held = {id(t): t for t in (*tensors, *_plain_tensors(models), *(p for o in optimizers for g in o.param_groups for p in g["params"]))}
    snapshot = Snapshot(held.values())
    gradients = [(t, t.grad, t.requires_grad) for t in held.values() if t.is_leaf]
    states = [_optimizer_state(o) for o in optimizers]
    plain = [(s, copy.copy(vars(s)), _copied(vars(s))) for s in schedulers]
    generators = [(g, g.get_state()) for loader in loaders for g in _generators(loader)]
    for tensor, _, _ in gradients:
        tensor.grad = None
    parts = [*(m for model in models for m in model.modules()), *(part for loader in loaders for part in _parts(loader))]
    with randomness_kept(), attributes_kept(parts):
        try:
            yield
        finally:
            snapshot.restore()
            for tensor, gradient, requires_grad in gradients:
                tensor.requires_grad_(requires_grad)
                tensor.grad = gradient
            for optimizer, state in zip(optimizers, states, strict=True):
                _restore_optimizer(optimizer, state)
            for scheduler, attributes, values in plain:
                vars(scheduler).clear()
                vars(scheduler).update(attributes)
                vars(scheduler).update(values)
            for generator, value in generators:
                generator.set_state(value)


def _parts(loader: Any) -> Iterator[Any]:
    """The loader with its dataset and samplers, which count epochs and batches."""
    if isinstance(loader, DataLoader):
        batches = loader.batch_sampler
        yield from (loader, loader.dataset, loader.sampler, batches, getattr(batches, "sampler", None))


def _generators(loader: Any) -> Iterator[torch.Generator]:
    if isinstance(loader, DataLoader):
        for owner in (loader, loader.sampler, getattr(loader, "batch_sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                yield generator


def _plain_tensors(models: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Tensors that modules hold as ordinary attributes, such as a state carried from call to call."""
    return (v for model in models for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor) and v.is_leaf)


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    """Copies of the mutable plain values of a scheduler; its optimizer and functions are shared."""
    return {k: copy.deepcopy(v) for k, v in attributes.items() if isinstance(v, list | dict | set) and not _holds_objects(v)}


def _holds_objects(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return any(not isinstance(i, int | float | str | bool | tuple | type(None)) for i in items)


def _optimizer_state(optimizer: Optimizer) -> tuple[dict[Any, dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    state = {
        p: {k: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in s.items()} for p, s in optimizer.state.items()
    }
    groups = [
        {k: (v.clone() if isinstance(v, Tensor) else copy.copy(v)) for k, v in g.items() if k != "params"} for g in optimizer.param_groups
    ]
    return state, groups, dict(vars(optimizer))


def _restore_optimizer(optimizer: Optimizer, saved: tuple[dict[Any, dict[str, Any]], list[dict[str, Any]], dict[str, Any]]) -> None:
    state, groups, attributes = saved
    vars(optimizer).clear()
    vars(optimizer).update(attributes)
    for parameter in list(optimizer.state):
        if parameter not in state:
            del optimizer.state[parameter]
    for parameter, values in state.items():
        optimizer.state[parameter].clear()
        optimizer.state[parameter].update(values)
    for group, values in zip(optimizer.param_groups, groups, strict=True):
        for key in [k for k in group if k not in values and k != "params"]:
            del group[key]
        group.update(values)
