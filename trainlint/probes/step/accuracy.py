"""Share of right answers of a replayed step, for losses that score classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.step.loss_input import input_slot
from trainlint.probes.step.replay import Rehearsal
from trainlint.record.operation import Operation, Ref, without_regularisation

__all__ = ["accuracy"]


def accuracy(
    trial: Rehearsal, fill: Mapping[int, Tensor], change: Callable[[Operation], Operation] = without_regularisation
) -> float | None:
    """Of one batch, with regularisation off; None for losses without classes, and where they cannot be seen."""
    call = main_loss_call(trial.tape)
    if call is None:
        return None
    _, op, bound = call
    slot, target = input_slot(op), bound["target"]
    if slot is None or op.name not in ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        return None
    aim = op.argument(1, "target")
    wanted = (slot, aim.slot) if isinstance(aim, Ref) else (slot,)
    found = trial.replay(fill, change=change, grad=False, keep=wanted)
    given = found.get(slot)
    if given is None:
        return None
    if isinstance(aim, Ref):
        target = found.get(aim.slot, fill.get(aim.slot, target))
    if op.name in ("cross_entropy", "nll_loss"):
        if target.is_floating_point():
            target = target.argmax(1 if target.dim() > 1 else 0)
        scored = target != int(change(op).argument(4, "ignore_index", -100))
        hits = given.argmax(1 if given.dim() > 1 else 0) == target
        return float(hits[scored].float().mean()) if scored.any() else None
    if given.shape != target.shape:
        return None
    return float(((given > (0.5 if op.name == "binary_cross_entropy" else 0.0)) == (target > 0.5)).float().mean())
