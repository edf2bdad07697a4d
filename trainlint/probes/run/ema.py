"""Copies of the weights that were watched while recording: which are moving averages, and how slow; and batch norm's own averages."""

from __future__ import annotations

import gc
import statistics
from types import ModuleType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from trainlint.measurements import Ema, EmaCopy, RunningStatistics
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.run.kept_best import kept_best
from trainlint.probes.run.kept_weights import kept_weights
from trainlint.probes.run.schedulers import steps_per_epoch
from trainlint.probes.source.left_in_place import left_in_place
from trainlint.probes.source.lost_updates import lost_update
from trainlint.probes.source.swaps import swap_before
from trainlint.record.frames import Place
from trainlint.record.recording import Recording
from trainlint.record.seen import Call
from trainlint.record.shadows import Shadow
from trainlint.settings import Settings

__all__ = ["measure_ema"]

#: Batches that a new layer may have averaged when the first step is taken: a model can be called several times in one.
_FIRST = 8
#: Distance from mean 0 and variance 1, for half of the channels, within which statistics are nearly those of a new layer.
_NEARLY = 0.1
_WORDS = ("decay", "ema_decay", "beta", "momentum", "alpha")


def measure_ema(recording: Recording, deadline: float, settings: Settings) -> Ema:
    """Describe each watched copy that is not trained itself."""
    if len(recording.steps) < 3:
        msg = f"only {len(recording.steps)} optimizer steps were recorded, too few to see a copy of the weights move"
        raise CannotMeasureError(msg)
    trained = {id(p) for o in recording.optimizers for p in o.parameters}
    copies = [s for s in recording.shadows if not s.foreign and not any(id(t) in trained for t in s.read() or ())]
    return Ema(
        copies=tuple(_copy(recording, s) for s in copies),
        statistics=_statistics(recording),
        kept=kept_weights(recording) if not recording.own_loop else (),
        best=kept_best(recording) if not recording.own_loop else (),
        steps_per_epoch=steps_per_epoch(recording),
        epochs=next((entry.planned for entry in recording.loaders_of("train")), None),
    )


def _copy(recording: Recording, shadow: Shadow) -> EmaCopy:
    holder = _holder(shadow.holder)
    kind = type(holder).__name__
    declared, explicit = _declared(holder)
    averages = kind == "AveragedModel"
    built = recording.places.get(id(holder)) if isinstance(holder, nn.Module) else None
    own = holder is not shadow.holder or averages or explicit
    lost = lost_update(shadow.place) if not shadow.updates else None
    where = built if own and built is not None else shadow.place or built
    if lost is not None and shadow.place is not None:
        where = (shadow.place[0], lost[1], shadow.place[2])
    swapped = _replaces(shadow)
    left = _left(recording, shadow, holder)
    calls = [c for c in recording.calls if c.module is shadow.holder or c.module is holder]
    return EmaCopy(
        kind=kind,
        where=recording.frames.location(where),
        declared=declared,
        decays=tuple(shadow.decays),
        updates=shadow.updates,
        watched=shadow.watched,
        evaluated=bool(calls) and all(not c.grad and c.iteration is not None and c.iteration.phase == "val" for c in calls),
        replaces_weights=swapped is not None,
        replaced_where=recording.frames.location(swap_before(swapped) or swapped) if swapped is not None else None,
        left_where=recording.frames.location(left[0]) if left is not None else None,
        restorer=left[1] if left is not None else "",
        lost_to=lost[0] if lost is not None else None,
        is_average=averages or explicit,
        fresh_statistics=_fresh(recording, shadow.holder),
        equal_weights=averages and not getattr(holder, "avg_fn", None) and not getattr(holder, "multi_avg_fn", None),
    )


def _replaces(shadow: Shadow) -> Place | None:
    """Where the model was evaluated when the average came into its weights to stay; None when it did not, or between other steps too."""
    places = [p for p in shadow.replaced if p is not None]
    return places[0] if _averages(shadow) and places and len(places) == len(shadow.replaced) else None


def _left(recording: Recording, shadow: Shadow, holder: Any) -> tuple[Place, str] | None:
    """Where the running loop will put an average into the weights to stay, and the method that would put them back."""
    if not _averages(shadow) or shadow.replaced or isinstance(holder, Optimizer | list | dict) or not hasattr(holder, "__dict__"):
        return None
    return left_in_place(recording.frames, holder, _names(holder, shadow.holder), {id(w) for w in shadow.weights})


def _averages(shadow: Shadow) -> bool:
    return not shadow.foreign and len(shadow.decays) >= 2 and statistics.median(shadow.decays) > 0.5


def _names(holder: Any, held: Any) -> set[str]:
    """The attributes under which an object keeps a copy."""
    kept = {**getattr(holder, "__dict__", {}), **(holder._modules if isinstance(holder, nn.Module) else {})}
    return {name for name, value in kept.items() if value is held}


def _fresh(recording: Recording, found: Any) -> int:
    """Batch-norm layers of a copy that never took over running statistics; 0 where those of the trained model are new as well."""
    if not isinstance(found, nn.Module):
        return 0
    inside = {id(m) for m in found.modules()}
    trained = [n for model in recording.models() for n in _norms(model) if id(n) not in inside]
    return sum(_is_new(n) for n in _norms(found)) if trained and not any(map(_is_new, trained)) else 0


def _statistics(recording: Recording) -> tuple[RunningStatistics, ...]:
    """Batch-norm layers by momentum whose statistics were new and have moved: loaded ones and frozen ones are left out."""
    found: dict[float, list[_BatchNorm]] = {}
    for norm in {id(n): n for model in recording.models() for n in _norms(model)}.values():
        if norm.weight is not None and not norm.weight.requires_grad:
            continue  # frozen: its statistics are meant to stay
        before = recording.initial.get(id(norm.num_batches_tracked))
        if norm.momentum is not None and before is not None and int(before) <= _FIRST and int(norm.num_batches_tracked or 0) > int(before):
            found.setdefault(float(norm.momentum), []).append(norm)
    return tuple(
        RunningStatistics(
            momentum=momentum,
            layers=len(norms),
            fresh=all(map(_is_nearly_new, norms)),
            where=recording.frames.location(recording.places.get(id(norms[0]))),
        )
        for momentum, norms in found.items()
    )


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None and m.running_var is not None]


def _is_new(norm: _BatchNorm) -> bool:
    mean, var = norm.running_mean, norm.running_var
    return mean is not None and var is not None and not bool(mean.any()) and bool((var == 1).all())


def _is_nearly_new(norm: _BatchNorm) -> bool:
    mean, var = norm.running_mean, norm.running_var
    return mean is not None and var is not None and max(float(mean.abs().median()), float((var - 1).abs().median())) < _NEARLY


def _holder(found: Any) -> Any:
    """The object that keeps the copy as an attribute; the copy itself when there is none or several."""
    owners = []
    for referrer in gc.get_referrers(found):
        if isinstance(referrer, dict) and any(v is found for v in referrer.values()):
            owners += [o for o in gc.get_referrers(referrer) if getattr(o, "__dict__", None) is referrer or _registers(o, referrer)]
        elif hasattr(referrer, "__dict__") and any(v is found for v in vars(referrer).values()):
            owners.append(referrer)
    owners = [o for o in owners if not isinstance(o, type | ModuleType | Shadow | Call)]
    return owners[0] if len({id(o) for o in owners}) == 1 else found


def _registers(owner: Any, table: dict[Any, Any]) -> bool:
    return isinstance(owner, nn.Module) and owner.__dict__.get("_modules") is table


def _declared(holder: Any) -> tuple[float | None, bool]:
    """The decay that an object states, and whether it is called so."""
    for word in _WORDS:
        value = getattr(holder, word, None) if not isinstance(holder, dict | list) else None
        if isinstance(value, float) and 0.5 <= value < 1:
            return value, "decay" in word
    return None, False
