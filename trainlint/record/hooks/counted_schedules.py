"""timm's schedulers, which are no torch schedulers: they are told how many epochs or updates have gone by, and go by one of the two."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder

__all__ = ["hook_counted_schedules"]


def hook_counted_schedules(recorder: Recorder, replace: Replace) -> None:
    """Tell of schedulers of timm that are built and stepped. The script imports timm, so it is looked for when an optimizer is built."""
    init = Optimizer.__init__
    hooked: list[type] = []

    @functools.wraps(init)
    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        base = getattr(sys.modules.get("timm.scheduler.scheduler"), "Scheduler", None)
        if base is not None and not hooked:
            hooked.append(base)
            _hook(base, recorder, replace)
        init(self, *args, **kwargs)

    replace(Optimizer, "__init__", __init__)


def _hook(base: type, recorder: Recorder, replace: Replace) -> None:
    def wrap(name: str, in_epochs: bool) -> Callable[..., Any]:
        step = vars(base)[name]

        @functools.wraps(step)
        def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = step(self, *args, **kwargs)
            count = args[0] if args else next((v for k, v in kwargs.items() if k != "metric"), None)
            if recorder.on and type(self).step is stepped_by["step"] and isinstance(count, int | float):
                if self.t_in_epochs == in_epochs:
                    recorder.scheduler_stepped(self, None, float(count))
                else:
                    recorder.scheduler_idle(self)
            return result

        return stepped

    def built(init: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            if recorder.on and type(self).step is stepped_by["step"]:  # one with a step of its own follows a metric
                recorder.scheduler_built(self)

        return __init__

    stepped_by = {"step": wrap("step", True), "step_update": wrap("step_update", False)}
    for name, new in stepped_by.items():
        replace(base, name, new)
    replace(base, "__init__", built(vars(base)["__init__"]))
