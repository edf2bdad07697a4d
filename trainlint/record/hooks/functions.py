"""Functions that a tape cannot look into: compiled ones, custom autograd functions, checkpoints."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder
from trainlint.record.tapewriter import TapeWriter

__all__ = ["Writing", "hook_compilation", "opaque_functions"]


def hook_compilation(recorder: Recorder, replace: Replace) -> None:
    """torch.compile and torch.jit hand the function back, but a library that reads a model's graph gets it; autograd functions are one operation."""
    compile_ = torch.compile

    @functools.wraps(compile_)
    def uncompiled(model: Any = None, **_: Any) -> Any:
        return (lambda function: function) if model is None else model

    replace(torch, "compile", uncompiled)
    module_compile = nn.Module.compile
    replace(nn.Module, "compile", functools.wraps(module_compile)(lambda self, *args, **kwargs: None))
    state, trace = torch.jit._state._enabled, torch.jit.trace
    replace(state, "enabled", False)

    @functools.wraps(trace)
    def traced(*args: Any, **kwargs: Any) -> Any:
        if not recorder.enabled or recorder.frames.is_user(sys._getframe(1).f_code.co_filename):
            return trace(*args, **kwargs)
        active, recorder.writer.active, recorder.enabled, state.enabled = recorder.writer.active, False, False, True
        try:
            return trace(*args, **kwargs)
        finally:
            recorder.writer.active, recorder.enabled, state.enabled = active, True, False

    replace(torch.jit, "trace", traced)
    opaque_functions(recorder, replace)


def _variable(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """``Variable(batch)``, which old scripts wrap around what a loader gives, as an operation that can be followed: the same values without a graph."""
    if len(args) == 1 and not kwargs and type(args[0]) is Tensor and not args[0].requires_grad:
        return args[0].detach()
    return super(torch.autograd.Variable, cls).__new__(cls, *args, **kwargs)


class Writing(Protocol):
    """Who has a tape written, and whether it listens."""

    writer: TapeWriter

    @property
    def on(self) -> bool:
        """Whether to look at all."""
        ...


def opaque_functions(listener: Writing, replace: Replace) -> None:
    """Custom autograd functions are one operation of a tape; checkpointed ones run in the open.

    Making a subclass of a tensor is told too: torch keeps that from function modes.
    """
    function = torch.autograd.Function
    apply, as_subclass = inspect.getattr_static(function, "apply"), Tensor.as_subclass
    writer = listener.writer

    @functools.wraps(as_subclass)
    def recast(self: Any, kind: Any) -> Any:
        if not (writer.active and listener.on):
            return as_subclass(self, kind)
        return writer.write("as_subclass", as_subclass, (self, kind), {})

    replace(Tensor, "as_subclass", recast)
    replace(torch.autograd.Variable, "__new__", _variable)

    def opaque(cls: Any, *args: Any, **kwargs: Any) -> Any:
        original = apply.__get__(None, cls)
        if not (writer.active and listener.on):
            return original(*args, **kwargs)
        return writer.write("apply", original, args, kwargs)

    replace(function, "apply", classmethod(opaque))
    checkpoint = torch.utils.checkpoint.CheckpointFunction
    reentrant = checkpoint.apply

    def in_the_open(_: Any, run: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return run(*args) if writer.active and listener.on else reentrant(run, preserve, *args)

    replace(checkpoint, "apply", classmethod(in_the_open))
