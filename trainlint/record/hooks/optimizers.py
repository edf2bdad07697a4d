"""Optimizers and learning-rate schedulers: construction and steps."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer, lr_scheduler

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder

__all__ = ["hook_optimizers", "hook_schedulers", "step_begun", "step_ended"]


def _has_closure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a step is handed a function that computes the loss; ``args`` begins with the optimizer itself."""
    return any(callable(a) for a in (*args[1:], *kwargs.values()))


def step_begun(recorder: Recorder) -> Callable[..., None]:
    """What torch calls before each optimizer step."""

    def begun(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if recorder.resting and recorder.awake:
            recorder.rests(recorder)
        if recorder.on:
            recorder.step_begun(optimizer, closure=_has_closure(args, kwargs))

    return begun


def step_ended(recorder: Recorder) -> Callable[..., None]:
    """What torch calls after each optimizer step."""

    def ended(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if recorder.on:
            recorder.step_ended(optimizer, closure=_has_closure(args, kwargs))

    return ended


def hook_optimizers(recorder: Recorder, replace: Replace) -> None:
    """Tell of optimizers that are built and loaded; their steps come by torch's own hooks."""
    init, load = Optimizer.__init__, Optimizer.load_state_dict

    wrapped: list[type] = []

    @functools.wraps(init)
    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        wrapper = getattr(sys.modules.get("accelerate.optimizer"), "AcceleratedOptimizer", None)
        if wrapper is not None and wrapper not in wrapped:  # the script imports it, so it is looked for when an optimizer is built
            wrapped.append(wrapper)
            replace(wrapper, "step", _holding_back(recorder, wrapper.step))
        init(self, *args, **kwargs)
        if recorder.awake:
            recorder.optimizer_built(self)

    @functools.wraps(load)
    def load_state_dict(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        load(self, *args, **kwargs)
        if recorder.on:
            recorder.optimizer_loaded(self)

    replace(Optimizer, "__init__", __init__)
    replace(Optimizer, "load_state_dict", load_state_dict)


def _holding_back(recorder: Recorder, step: Callable[..., Any]) -> Callable[..., Any]:
    """Accelerate lets a step through at the last batch of those that it accumulates; the others are told as held back."""

    @functools.wraps(step)
    def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = step(self, *args, **kwargs)
        if recorder.on and not self.gradient_state.sync_gradients:
            recorder.note("step-held", batches=self.gradient_state.num_steps)
        return result

    return stepped


def hook_schedulers(recorder: Recorder, replace: Replace) -> None:
    """Tell of schedulers that are built and stepped, of nested ones only the outermost."""
    depth = [0]

    def wrap_init(init: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            depth[0] += 1
            try:
                init(self, *args, **kwargs)
            finally:
                depth[0] -= 1
            if recorder.on and not depth[0]:
                recorder.scheduler_built(self)

        return __init__

    def wrap_step(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            try:
                result = step(self, *args, **kwargs)
            finally:
                depth[0] -= 1
            if recorder.on and not depth[0]:
                given = args[0] if args else kwargs.get("metrics")
                try:
                    metric = float(given) if given is not None and isinstance(self, lr_scheduler.ReduceLROnPlateau) else None
                except (TypeError, ValueError):
                    metric = None
                recorder.scheduler_stepped(self, metric)
            return result

        return stepped

    kinds = [k for k in vars(lr_scheduler).values() if isinstance(k, type) and issubclass(k, lr_scheduler.LRScheduler)]
    for kind in dict.fromkeys(kinds):
        if "__init__" in vars(kind):
            replace(kind, "__init__", wrap_init(vars(kind)["__init__"]))
        if "step" in vars(kind):
            replace(kind, "step", wrap_step(vars(kind)["step"]))
