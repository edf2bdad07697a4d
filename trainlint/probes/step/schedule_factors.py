"""What a LambdaLR makes of the rates that its optimizer was built with, its function played over a long run; what others make of a rate they find."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import lr_scheduler

from trainlint.record.recording import Recording
from trainlint.record.seen import OptimizerSeen, SchedulerSeen

__all__ = ["begins_anew", "highest_factors", "highest_from", "ruling_schedule"]

#: Calls that are looked at one by one; from there on they lie so far apart, up to the last one.
_EACH, _GROWTH, _LAST = 200, 1.02, 1_000_000

_KNOWN: WeakKeyDictionary[Any, tuple[float, ...]] = WeakKeyDictionary()


def highest_factors(scheduler: Any) -> tuple[float, ...]:
    """The highest factor of each group within a million calls; empty where it cannot be told, or where one rises for ever (a search for a rate)."""
    if type(scheduler) is not lr_scheduler.LambdaLR:
        return ()
    if scheduler not in _KNOWN:
        try:
            _KNOWN[scheduler] = tuple(_highest(function) for function in scheduler.lr_lambdas)
        except Exception:  # the function is the user's
            _KNOWN[scheduler] = ()
    factors = _KNOWN[scheduler]
    return factors if all(math.isfinite(f) for f in factors) else ()


def ruling_schedule(recording: Recording, seen: OptimizerSeen) -> SchedulerSeen | None:
    """The schedule that alone sets an optimizer's rates, where it was seen to do so at the first step."""
    own = [s for s in recording.schedulers if getattr(s.scheduler, "optimizer", None) is seen.optimizer]
    if len(own) != 1 or not seen.settings:
        return None
    factors, bases = highest_factors(own[0].scheduler), getattr(own[0].scheduler, "base_lrs", ())
    rates = [float(group.get("lr", math.inf)) for group in seen.settings]
    if not len(factors) == len(bases) == len(rates):
        return None
    return own[0] if all(r <= 1.01 * f * float(b) for r, f, b in zip(rates, factors, bases, strict=True)) else None


def begins_anew(seen: SchedulerSeen) -> bool:
    """Whether a schedule stands where its own calls have brought it, in a loop that begins with the first epoch: it does not go on with an earlier run's."""
    now, then = getattr(seen.scheduler, "last_epoch", None), seen.initial.get("last_epoch")
    first = max((turn.value for turn in next(iter(seen.turns), ())), default=0)
    return isinstance(now, int) and then == 0 and now <= len(seen.calls) and first <= 1


def highest_from(scheduler: Any, rate: float) -> float | None:
    """The highest rate that a schedule makes of the one that it finds when it begins, before it swings back; None where that cannot be told."""
    plays = isinstance(scheduler, lr_scheduler.LRScheduler) and not hasattr(scheduler, "_schedulers")
    if not plays or isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        return None
    twin = copy.copy(scheduler)
    twin.optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    group = twin.optimizer.param_groups[0]
    group.update({k: v for k, v in scheduler.optimizer.param_groups[0].items() if k not in ("params", "lr")})
    twin.__dict__["_get_lr_called_within_step"] = True
    length = getattr(scheduler, "T_max", None)
    highest = rate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for twin.last_epoch in range(1, 1 + (length if isinstance(length, int) else _EACH)):
                group["lr"] = float(twin.get_lr()[0])
                highest = max(highest, group["lr"])
    except Exception:  # a schedule of the user's own may need more
        return None
    return highest


def _highest(function: Any) -> float:
    factors = [float(function(call)) for call in _calls()]
    return math.inf if factors[-1] == max(factors) and factors[-1] > factors[-2] else max(factors)


def _calls() -> Iterator[int]:
    call = 0
    while call < _LAST:
        yield call
        call = max(call + 1, int(call * _GROWTH)) if call >= _EACH else call + 1
    yield _LAST
