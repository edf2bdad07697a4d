"""Gradients: backward passes, clearing, clipping, and the scaler of mixed precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainlint.record.hooks.replacing import Replace
from trainlint.record.parameters import parameters_of
from trainlint.record.recorder import Recorder

__all__ = ["hook_gradients"]


def hook_gradients(recorder: Recorder, replace: Replace) -> None:
    """Tell of backward passes, of gradients that are cleared, clipped, scaled and unscaled."""
    tensor_backward, backward, grad = Tensor.backward, torch.autograd.backward, torch.autograd.grad
    clear, module_clear = Optimizer.zero_grad, nn.Module.zero_grad
    depth = [0]

    def around(loss: Any, run: Callable[[], Any]) -> Any:
        if not recorder.on or depth[0] or not isinstance(loss, Tensor):
            return run()
        depth[0] += 1
        try:
            seen = recorder.backward_begun(loss)
            result = run()
            if seen is not None:
                recorder.backward_ended(seen)
        finally:
            depth[0] -= 1
        return result

    @functools.wraps(tensor_backward)
    def _tensor_backward(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return around(self, lambda: tensor_backward(self, *args, **kwargs))

    @functools.wraps(backward)
    def _backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        first = tensors if isinstance(tensors, Tensor) else next(iter(tensors), None)
        return around(first, lambda: backward(tensors, *args, **kwargs))

    @functools.wraps(grad)
    def _grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = outputs if isinstance(outputs, Tensor) else next(iter(outputs), None)
        wanted = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        # Derivatives that training uses by hand are its backward pass; beside an optimizer, or of a graph that is kept, they are something else.
        kept = kwargs.get("retain_graph") or kwargs.get("create_graph") or any(args[1:3])
        trains = all(isinstance(p, nn.Parameter) for p in wanted) and not kept
        if not recorder.on or depth[0] or recorder.recording.optimizers or not trains or not isinstance(loss, Tensor) or loss.numel() != 1:
            return grad(outputs, wanted, *args, **kwargs)
        depth[0] += 1
        try:
            seen = recorder.backward_begun(loss)
            result = grad(outputs, wanted, *args, **kwargs)
            if seen is not None:
                recorder.backward_ended(seen, {id(p): g for p, g in zip(wanted, result, strict=True) if g is not None})
        finally:
            depth[0] -= 1
        return result

    @functools.wraps(clear)
    def zero_grad(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        result = clear(self, *args, **kwargs)
        if recorder.on:
            recorder.cleared((p for g in self.param_groups for p in g["params"]), type(self).__name__)
        return result

    @functools.wraps(module_clear)
    def module_zero_grad(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = module_clear(self, *args, **kwargs)
        if recorder.on:
            recorder.cleared(parameters_of(self), type(self).__name__)
        return result

    replace(Tensor, "backward", _tensor_backward)
    replace(torch.autograd, "backward", _backward)
    replace(torch.autograd, "grad", _grad)
    replace(Optimizer, "zero_grad", zero_grad)
    replace(nn.Module, "zero_grad", module_zero_grad)
    for owner in (torch.nn.utils, torch.nn.utils.clip_grad):
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            replace(owner, name, _clip(recorder, getattr(owner, name), by_norm=name == "clip_grad_norm_"))
    scaler = torch.amp.grad_scaler.GradScaler
    scale, unscale, take = scaler.scale, scaler.unscale_, scaler.step

    def scaled(self: Any, outputs: Any) -> Any:
        result = scale(self, outputs)
        if recorder.on and self.is_enabled() and isinstance(outputs, Tensor):
            recorder.scaled(float(self.get_scale()))
        return result

    def unscaled(self: Any, optimizer: Optimizer) -> Any:
        result = unscale(self, optimizer)
        if recorder.on and self.is_enabled():
            recorder.unscaled()
        return result

    def stepped(self: Any, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        recorder.in_scaler = self.is_enabled()
        try:
            return take(self, optimizer, *args, **kwargs)
        finally:
            recorder.in_scaler = False

    replace(scaler, "scale", scaled)
    replace(scaler, "step", stepped)
    replace(scaler, "unscale_", unscaled)


def _clip(recorder: Recorder, clip: Callable[..., Any], *, by_norm: bool) -> Callable[..., Any]:
    @functools.wraps(clip)
    def clipped(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        kept = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        result = clip(kept, *args, **kwargs)
        limit = args[0] if args else kwargs.get("max_norm", kwargs.get("clip_value"))
        if recorder.on and limit is not None:
            recorder.clipped(
                kept, float(limit), float(result) if by_norm else None, parameters if isinstance(parameters, Iterator) else None
            )
        return result

    return clipped
