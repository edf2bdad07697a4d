"""Fresh copies of the user's optimizers for replayed steps: of the one that trains, or of several that always step on the same gradients."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.schedule_factors import highest_factors, ruling_schedule
from trainlint.record.recording import Recording
from trainlint.record.seen import OptimizerSeen

__all__ = ["built_lr", "configured_lr", "copied"]

#: A schedule whose highest factor is within this factor of 1 goes by the rates that the optimizer was built with.
_AS_BUILT = 2.0


def configured_lr(recording: Recording) -> list[float]:
    """The learning rate that each group is meant to reach: a schedule's peak, else the value it was built with."""
    found = []
    for seen in _training(recording):
        if not all("lr" in group for group in seen.optimizer.param_groups):
            msg = f"{type(seen.optimizer).__name__} has no learning rate of its own: another optimizer steps inside it"
            raise CannotMeasureError(msg)
        ruling = ruling_schedule(recording, seen)
        factors = highest_factors(ruling.scheduler) if ruling is not None else ()
        for index, group in enumerate(seen.optimizer.param_groups):
            built = seen.base[index].get("lr") if index < len(seen.base) else None
            rate = float(group.get("max_lr", group.get("initial_lr", built if built is not None else group["lr"])))
            factor = factors[index] if index < len(factors) else 1.0
            found.append(rate if 1 / _AS_BUILT <= factor <= _AS_BUILT else rate * factor)
    return found


def built_lr(recording: Recording) -> float:
    """The highest rate that the optimizers were given, whatever their schedules make of it."""
    given = (group.get("initial_lr", group.get("lr", 0.0)) for seen in _training(recording) for group in seen.optimizer.param_groups)
    return max(float(rate) for rate in given)


def copied(recording: Recording, wanted: Collection[int], lr: float) -> Optimizer:
    """Copies of the optimizers that train, without their state, for the parameters with these ids; ``lr`` is their highest rate."""
    base = configured_lr(recording)
    highest = max(base)
    rates = iter([own * lr / highest if highest > 0 else lr for own in base])
    copies = [_copy(seen.optimizer, rates, wanted) for seen in _training(recording)]
    held = [one for one in copies if one.param_groups]
    return held[0] if len(held) == 1 else _Together(held)


class _Together(Optimizer):
    """Several optimizers that step as one."""

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]
        self.state = defaultdict(dict)
        self.defaults = {}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """Let each take its step."""
        for part in self.parts:
            part.step()


def _training(recording: Recording) -> list[OptimizerSeen]:
    """The optimizer that the recorded loss trains, or all where they step together."""
    if recording.main is None:
        msg = "no optimizer took a step"
        raise CannotMeasureError(msg)
    return recording.training if recording.turns == 1 else [recording.main]


def _copy(optimizer: Optimizer, rates: Iterator[float], wanted: Collection[int]) -> Optimizer:
    kind = type(optimizer)
    twin = kind.__new__(kind)
    # An instance attribute `step` is a scheduler's or a framework's wrapper around the original optimizer.
    twin.__dict__ = {k: v for k, v in vars(optimizer).items() if k not in ("step", "zero_grad", "train", "eval")}
    twin._optimizer_step_pre_hooks, twin._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
    twin.state = defaultdict(dict)
    twin.param_groups = []
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        kept = {k: copy.copy(v) for k, v in group.items() if k != "params"}
        kept["params"] = [p for p in group["params"] if id(p) in wanted]
        kept["lr"] = rate
        if kept["params"]:
            twin.param_groups.append(kept | _in_one_pass(kind, kept))
    return twin


def _in_one_pass(kind: type[Optimizer], group: dict[str, Any]) -> dict[str, Any]:
    """Options of a group under which the optimizer takes its step in one pass over memory, which is most of what large models cost on a CPU."""
    asked = any(group.get(key) for key in ("foreach", "differentiable", "capturable")) or isinstance(group.get("lr"), Tensor)
    plain = all(p.device.type == "cpu" and p.dtype in (torch.float32, torch.float64) for p in group["params"])
    if asked or not plain or kind not in (torch.optim.Adam, torch.optim.AdamW):
        return {}
    return {"fused": True, "foreach": False}
