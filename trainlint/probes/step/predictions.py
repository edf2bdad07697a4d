"""What a recorded step predicts: the tensors that loss functions compare with targets, else what a loss of another kind is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.sources import sample_of
from trainlint.record.operation import Ref
from trainlint.record.tape import Tape

__all__ = ["Prediction", "predictions"]

_CLASS_LOSSES = frozenset({"cross_entropy", "multi_margin_loss", "nll_loss"})
#: Loss functions that compare a prediction with a target of its own sample.
_PAIRED = _CLASS_LOSSES | frozenset({
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss",
    "kl_div", "l1_loss", "mse_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "poisson_nll_loss", "smooth_l1_loss",
    "soft_margin_loss",
})  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """A tensor with something for each sample."""

    slot: int
    call: int | None = None
    """Position of its loss call."""
    target: int | None = None
    """Slot of the target that it is compared with."""
    classes: bool = False
    """It holds a score for each class, along axis 1, and the target a class index."""

    def changes(self, before: Tensor, after: Tensor) -> Tensor:
        """The size of the change for each element of the target (or of the prediction, where they are alike)."""
        if before.shape != after.shape:
            msg = "the number of predictions depends on the values in the batch"
            raise CannotMeasureError(msg)
        change = torch.nan_to_num((after.detach() - before.detach()).abs().float(), 0.0, 0.0, 0.0)
        return change.amax(1) if self.classes and change.dim() > 1 else change

    def effects(self, exchange: Exchange, change: Tensor, samples: set[int]) -> tuple[float, float] | None:
        """The largest change of these samples' own predictions and of others', by the samples that the targets belong to."""
        labels = exchange.labels.get(self.target) if self.target is not None else None
        if labels is None or labels.shape != change.shape:
            return None
        owner = sample_of(labels)
        own = torch.isin(owner, torch.tensor(sorted(samples), device=owner.device))
        return _largest(change[own]), _largest(change[(owner >= 0) & ~own])


def effects_by_rows(change: Tensor, count: int, samples: set[int]) -> tuple[float, float] | None:
    """The largest change of these samples' rows and of all others, by the axis that tells them best; None when no axis can hold samples."""
    found = []
    for axis, size in enumerate(change.shape):
        if size and size % count == 0:
            rows = change.movedim(axis, 0).reshape(size, -1).amax(1)
            for held in (rows.view(count, -1).amax(1), rows.view(-1, count).amax(0)):
                own = torch.zeros(count, dtype=torch.bool, device=held.device)
                own[sorted(samples)] = True
                found.append((_largest(held[own]), _largest(held[~own])))
    return min(found, key=lambda pair: pair[1] / pair[0] if pair[0] else float("inf") if pair[1] else 0.0, default=None)


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def predictions(tape: Tape, samples: int) -> list[Prediction]:
    """All predictions of a tape, in order."""
    found = []
    for position, op in enumerate(tape.operations):
        given = op.argument(0, "log_probs" if op.name == "ctc_loss" else "input")
        if op.name in _PAIRED and isinstance(given, Ref) and given.slot in tape.producers:
            target = op.argument(1, "targets" if op.name == "ctc_loss" else "target")
            slot = target.slot if isinstance(target, Ref) else None
            shapes = tape.shapes.get(given.slot, ()), tape.shapes.get(slot, ()) if slot is not None else ()
            found.append(Prediction(given.slot, position, slot, op.name in _CLASS_LOSSES and shapes[0] != shapes[1]))
    if found:
        return found
    handed_over = [s for s in _handed_over(tape) if _has_samples(tape, s, samples)]
    return [Prediction(s) for s in handed_over or _reduced(tape, samples)]


def _handed_over(tape: Tape) -> list[int]:
    """Slots that a module's operation made and one outside of modules takes."""
    inside = {s for op in tape.operations if op.module is not None for s in op.outputs}
    return list(dict.fromkeys(s for op in tape.operations if op.module is None for s in op.inputs if s in inside))


def _reduced(tape: Tape, samples: int) -> list[int]:
    """Slots with something for each sample from which the loss is reduced, for a loss within the model."""
    found: list[int] = []
    seen: set[int] = set()
    queue = [tape.loss]
    while queue:
        slot = queue.pop(0)
        if slot in seen or slot not in tape.producers:
            continue
        seen.add(slot)
        if _has_samples(tape, slot, samples):
            found.append(slot)
        else:
            queue.extend(tape.operations[tape.producers[slot]].inputs)
    return found


def _has_samples(tape: Tape, slot: int, samples: int) -> bool:
    return any(size and size % samples == 0 for size in tape.shapes.get(slot, ()))
