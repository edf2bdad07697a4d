"""Whether a model drops units in evaluation mode, which functional dropout does unless it is told the mode.

A validation call is made once more in evaluation mode, and the calls of dropout in it are looked at. Where the script evaluates later than
the recording goes, a call of its training stands for it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from trainlint.probes.source.own_files import own_files
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import source_tree
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Call

__all__ = ["dropout_in_evaluation", "dropout_to_come"]

#: Place of the probability among the arguments of an operation that drops when it is not 0, whatever the mode.
_BY_PROBABILITY = {"scaled_dot_product_attention": (4, "dropout_p")}


class _Dropouts(TorchFunctionMode):
    """Notes where dropout is active."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.frames = frames
        self.places: list[Place] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at an operation before it runs."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _BY_PROBABILITY:
            at, key = _BY_PROBABILITY[name]
            active = bool(kwargs.get(key, args[at] if len(args) > at else 0.0))
        else:
            active = "dropout" in name and bool(kwargs.get("training")) and bool(kwargs.get("p"))
        if active and (place := self.frames.here()) is not None:
            self.places.append(place)
        return func(*args, **kwargs)


def dropout_in_evaluation(recording: Recording) -> tuple[Call, Place] | None:
    """``(call, place)`` of a validation call and the line that drops in it; None where none does, or the call cannot be made again.

    Calls with layers that were left in training mode are passed over: that is another fault, or dropout as a means to measure doubt.
    """
    return _dropping(recording, (c for c in recording.calls if _is_evaluation(c)))


def dropout_to_come(recording: Recording) -> Place | None:
    """The line that will drop when a script that has not evaluated yet does so: its source calls ``.eval()``, and asks for no dropout then."""
    if not _evaluates(recording.frames):
        return None
    found = _dropping(recording, (c for c in recording.calls if c.trained and c.inputs))
    line = recording.frames.location(found[1]) if found is not None else None
    return found[1] if found is not None and line is not None and "training=True" not in line.text.replace(" ", "") else None


def _evaluates(frames: Frames) -> bool:
    trees = (source_tree(name) for name in own_files(frames, sys.modules))
    calls = (node for tree in trees if tree is not None for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(c.func, ast.Attribute) and c.func.attr == "eval" and not (c.args or c.keywords) for c in calls)


def _dropping(recording: Recording, calls: Iterable[Call]) -> tuple[Call, Place] | None:
    """The first call of a model that drops when it is made again in evaluation mode, and the line that does."""
    first: dict[int, Call] = {}
    for call in calls:
        first.setdefault(id(call.module), call)
    for call in first.values():
        modes = [(m, m.training) for m in call.module.modules()]
        watch = _Dropouts(recording.frames)
        try:
            with randomness_kept(), torch.no_grad():
                call.module.eval()
                with watch:
                    call.module(*call.inputs)
        except Exception:
            continue
        finally:
            for module, training in modes:
                module.training = training
        if watch.places:
            return call, watch.places[0]
    return None


def _is_evaluation(call: Call) -> bool:
    on_validation = call.iteration is not None and call.iteration.phase == "val"
    return on_validation and not call.training and not call.grad and not call.modules_on and bool(call.inputs)
