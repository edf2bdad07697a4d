"""Puts the monitor's ears on torch: a handful of entry points, none of them on the path of a layer."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from trainlint.record.functions import LOSS_FUNCTIONS
from trainlint.record.hooks import replace_attribute
from trainlint.watching.monitor import Monitor, Pass

__all__ = ["watched"]

Replace = Callable[[Any, str, Any], None]


@contextmanager
def watched(monitor: Monitor) -> Iterator[None]:
    """While the context lasts, what the process does with torch is told to ``monitor``."""
    with ExitStack() as stack:

        def replace(owner: Any, name: str, new: Any) -> None:
            replace_attribute(stack, owner, name, new)

        for install in (_loaders, _gradients, _losses, _modes):
            install(monitor, replace)
        before = register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: monitor.step_begun(optimizer))
        stack.callback(before.remove)
        after = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: monitor.step_ended(optimizer))
        stack.callback(after.remove)
        yield


def _loaders(monitor: Monitor, replace: Replace) -> None:
    passes: weakref.WeakKeyDictionary[Any, Pass] = weakref.WeakKeyDictionary()
    init, iterate, following = DataLoader.__init__, DataLoader.__iter__, _BaseDataLoaderIter.__next__
    build = Optimizer.__init__

    @functools.wraps(init)
    def __init__(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        monitor.built(self)

    @functools.wraps(build)
    def optimizer_init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        monitor.built(self)

    @functools.wraps(iterate)
    def __iter__(self: DataLoader[Any]) -> Any:
        entry = monitor.pass_begun(self)
        iterator = iterate(self)
        if entry is not None:
            passes[iterator] = entry
        return iterator

    @functools.wraps(following)
    def __next__(self: Any) -> Any:
        entry = passes.get(self)
        if entry is None or not monitor.on:
            return following(self)
        began = time.perf_counter()
        try:
            batch = following(self)
        except StopIteration:
            monitor.pass_ended(entry)
            raise
        monitor.batch_loaded(entry, batch, time.perf_counter() - began)
        return batch

    replace(DataLoader, "__init__", __init__)
    replace(DataLoader, "__iter__", __iter__)
    replace(_BaseDataLoaderIter, "__next__", __next__)
    replace(Optimizer, "__init__", optimizer_init)


def _gradients(monitor: Monitor, replace: Replace) -> None:
    tensor_backward, backward = Tensor.backward, torch.autograd.backward
    depth = [0]

    @functools.wraps(tensor_backward)
    def _tensor_backward(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        depth[0] += 1  # it calls autograd.backward in turn
        try:
            if depth[0] == 1:
                monitor.backward_begun(self)
            return tensor_backward(self, *args, **kwargs)
        finally:
            depth[0] -= 1

    @functools.wraps(backward)
    def _backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if not depth[0]:
            first = tensors if isinstance(tensors, Tensor) else tensors[0] if isinstance(tensors, list | tuple) and tensors else None
            if isinstance(first, Tensor):
                monitor.backward_begun(first)
        return backward(tensors, *args, **kwargs)

    replace(Tensor, "backward", _tensor_backward)
    replace(torch.autograd, "backward", _backward)
    for owner in (torch.nn.utils, torch.nn.utils.clip_grad):
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            replace(owner, name, _clip(monitor, getattr(owner, name)))
    scaler = torch.amp.grad_scaler.GradScaler
    scale = scaler.scale

    @functools.wraps(scale)
    def scaled(self: Any, outputs: Any) -> Any:
        if self.is_enabled():
            monitor.scaled(outputs)
        return scale(self, outputs)

    replace(scaler, "scale", scaled)


def _clip(monitor: Monitor, clip: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(clip)
    def clipped(*args: Any, **kwargs: Any) -> Any:
        norm = clip(*args, **kwargs)
        monitor.clipped(norm)
        return norm

    return clipped


def _losses(monitor: Monitor, replace: Replace) -> None:
    """Losses of validation passes. torch.jit.script gets to see the functions as they are."""
    functions = {name: getattr(nn.functional, name) for name in sorted(LOSS_FUNCTIONS) if hasattr(nn.functional, name)}

    def tapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            entry = monitor.current
            if entry is not None and not entry.backwards and not torch.compiler.is_compiling():
                first = args[0] if args else kwargs.get("input")
                monitor.loss_called(result, first.shape[0] if isinstance(first, Tensor) and first.dim() else 1)
            return result

        return called

    taps = {name: tapped(function) for name, function in functions.items()}
    for name, tap in taps.items():
        replace(nn.functional, name, tap)
    script = torch.jit.script

    @functools.wraps(script)
    def scripted(*args: Any, **kwargs: Any) -> Any:
        for name, function in functions.items():
            setattr(nn.functional, name, function)
        try:
            return script(*args, **kwargs)
        finally:
            for name, tap in taps.items():
                setattr(nn.functional, name, tap)

    replace(torch.jit, "script", scripted)


def _modes(monitor: Monitor, replace: Replace) -> None:
    switch = nn.Module.eval

    @functools.wraps(switch)
    def evaluated(self: nn.Module) -> Any:
        monitor.evaluated()
        return switch(self)

    replace(nn.Module, "eval", evaluated)
