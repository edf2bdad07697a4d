"""Models: calls, construction, loaded weights, modes, and where gradients are switched off."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from trainlint.record.hooks.replacing import Replace
from trainlint.record.parameters import SHORT, named_parameters_of, owns_parameters
from trainlint.record.recorder import Recorder

__all__ = ["hook_modes", "hook_modules"]


def hook_modules(recorder: Recorder, replace: Replace) -> None:
    """Tell of outermost model calls, of where modules and parameters of the user's own are built, and of loaded weights."""
    call, init, load = nn.Module.__call__, nn.Module.__init__, nn.Module.load_state_dict
    restore, register = nn.Module.__setstate__, nn.Module.register_parameter
    stack = recorder.writer.modules
    inside: set[int] = set()  # ids of modules that were built while a forward ran

    @functools.wraps(call)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not recorder.on:
            return call(self, *args, **kwargs)
        outermost = not stack and owns_parameters(self)
        if outermost:
            place = recorder.frames.here()
            recorder.call_begun()
        if not stack and not outermost and self._modules:
            return call(self, *args, **kwargs)  # a wrapper without parameters: a transform, a metric
        if inside and id(self) in inside and stack:
            recorder.built_in_forward(self, stack[-1])
        stack.append(self)
        try:
            output = call(self, *args, **kwargs)
        finally:
            stack.pop()
        if outermost:
            recorder.call_ended(self, args, kwargs, output, place)
        return output

    @functools.wraps(init)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.recording.places[id(self)] = recorder.frames.here(building=self)
            recorder.recording.void_loads.pop(id(self), None)
            recorder.recording.loaded.pop(id(self), None)  # a module that is gone may have had the same id
            (inside.add if stack and recorder.on else inside.discard)(id(self))

    @functools.wraps(restore)
    def __setstate__(self: nn.Module, state: Any) -> None:
        restore(self, state)
        if recorder.on:  # copied or unpickled, without __init__
            recorder.recording.places[id(self)] = recorder.frames.here()

    @functools.wraps(load)
    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = load(self, *args, **kwargs)
        if recorder.awake and not recorder.steps_done:
            recorder.note("load", type(self).__name__)
            given = args[0] if args else kwargs.get("state_dict", {})
            missing = set(getattr(result, "missing_keys", ()))
            own = [name for name, _ in named_parameters_of(self)]
            if given and own and missing.issuperset(own):
                recorder.recording.void_loads[id(self)] = recorder.frames.here(), str(next(iter(given)))
            else:
                recorder.recording.void_loads.pop(id(self), None)
            for name, module in self.named_modules():
                if _has_values_for(module, f"{name}." if name else "", given):
                    recorder.recording.loaded[id(module)] = "load_state_dict()"
        return result

    @functools.wraps(register)
    def register_parameter(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(self, name, param)
        kind = type(self).__module__
        if param is not None and recorder.awake and (not kind.startswith("torch.nn.") or kind.endswith(".container")):
            recorder.recording.places[id(param)] = recorder.frames.here()

    replace(nn.Module, "register_parameter", register_parameter)
    replace(nn.Module, "__call__", __call__)
    replace(nn.Module, "__init__", __init__)
    replace(nn.Module, "__setstate__", __setstate__)
    replace(nn.Module, "load_state_dict", load_state_dict)


def _has_values_for(module: nn.Module, prefix: str, given: Mapping[str, Any]) -> bool:
    """Whether a state dict holds a parameter of the module's own; for a module without any, one of the modules below it."""
    own = dict(named_parameters_of(module, recurse=False)) or dict(named_parameters_of(module))
    return any(prefix + name in given for name in own)


def hook_modes(recorder: Recorder, replace: Replace) -> None:
    """Tell of train() and eval(), of casts, of frozen modules, and of gradients switched off."""
    train, freeze = nn.Module.train, nn.Module.requires_grad_
    depth = [0]

    @functools.wraps(train)
    def switched(self: nn.Module, mode: bool = True) -> Any:
        depth[0] += 1
        try:
            result = train(self, mode)
        finally:
            depth[0] -= 1
        if recorder.on and not depth[0]:
            place = recorder.frames.here()
            if owns_parameters(self):
                recorder.note("train" if mode else "eval", type(self).__name__, place)
            for module in self.modules():
                recorder.recording.modes[id(module)] = place
        return result

    @functools.wraps(freeze)
    def frozen(self: nn.Module, requires_grad: bool = True) -> Any:
        if recorder.on and not requires_grad:
            recorder.recording.frozen_at = recorder.frames.here()
        return freeze(self, requires_grad)

    def wrap_cast(cast: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(cast)
        def casting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            before = {p.dtype for _, p in named_parameters_of(self)}
            result = cast(self, *args, **kwargs)
            if recorder.awake and {p.dtype for _, p in named_parameters_of(self)} & SHORT - before:
                recorder.recording.cast_at = recorder.frames.here()
            return result

        return casting

    for name in ("to", "half", "bfloat16"):
        replace(nn.Module, name, wrap_cast(vars(nn.Module)[name]))
    replace(nn.Module, "train", switched)
    replace(nn.Module, "requires_grad_", frozen)
    grad_mode = torch.autograd.grad_mode
    stack = recorder.writer.off_at
    enter, leave = grad_mode.no_grad.__enter__, grad_mode.no_grad.__exit__

    def no_grad_enter(self: Any) -> None:
        outer = stack[-1] if stack and not torch.is_grad_enabled() else None
        stack.append((outer or recorder.frames.here()) if recorder.on else None)
        enter(self)

    def no_grad_exit(self: Any, *error: Any) -> None:
        if stack:
            stack.pop()
        leave(self, *error)

    replace(grad_mode.no_grad, "__enter__", no_grad_enter)
    replace(grad_mode.no_grad, "__exit__", no_grad_exit)
    setter = grad_mode.set_grad_enabled
    init, closed = setter.__init__, setter.__exit__

    @functools.wraps(init)
    def set_grad_init(self: Any, mode: bool) -> None:
        init(self, mode)
        # Libraries switch gradients off and back around their own work; what counts is what the user's code switched.
        if not recorder.on:
            return
        if mode:
            recorder.recording.grad_off = None
        elif recorder.frames.is_user(sys._getframe(1).f_code.co_filename):
            recorder.recording.grad_off = recorder.frames.here()

    def set_grad_exit(self: Any, *error: Any) -> None:
        closed(self, *error)
        if recorder.on and torch.is_grad_enabled():
            recorder.recording.grad_off = None

    replace(setter, "__init__", set_grad_init)
    replace(setter, "__exit__", set_grad_exit)
