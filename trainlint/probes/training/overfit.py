"""Overfit one batch: the recorded batch, trained on again and again by replay, regularisation off."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from trainlint.measurements import Attempt, Overfit
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.accuracy import accuracy
from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.step.loss_terms import terms
from trainlint.probes.step.parts import alike
from trainlint.probes.step.replay import Rehearsal, rehearsal
from trainlint.probes.training.token_floor import next_token_floor
from trainlint.record.frames import Place
from trainlint.record.operation import Operation, without_regularisation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_overfit"]

#: Learning rates of Adam that are tried, the usual one first. A wrong one fails this check too, so one failure proves nothing. The
#: third is on the side of the better of the two before.
_RATES, _HIGHER, _LOWER = (1e-3, 1e-2), 1e-1, 1e-4
#: Samples that are tried first: enough for batch statistics, few enough to be cheap. Fewer where a sample has so many numbers that a
#: model which fits no more than a few samples is no more likely to fit these.
_PART, _FEW, _MANY_NUMBERS = 8, 4, 256
#: Steps of one attempt; twice what a 4-layer GPT, the slowest of the models measured, needed to fall to a tenth (60-105).
_STEPS = 200
#: An attempt ends when this share of the first loss (above its floor) is left.
_FITTED = 0.08
#: The first loss of the few samples is within this factor of the whole batch's; otherwise it is no mean over samples.
_ALIKE = 3.0
#: Steps for which a loss without a known floor is followed below zero, and how far, in multiples of the first loss or of 1.
_BEYOND, _ENDLESS = 100, 100.0
#: An attempt is given up after so many steps with nearly nothing learned.
_PATIENCE = 40


def measure_overfit(recording: Recording, deadline: float, settings: Settings) -> Overfit:
    """Try to drive the loss of the recorded batch to its floor."""
    with rehearsal(recording) as trial:
        tape = trial.tape
        initial = float(trial.loss(change=without_regularisation, grad=False))
        if not math.isfinite(initial):
            msg = "the first loss is not finite"
            raise CannotMeasureError(msg)
        floor, known = _floor(trial)
        began, size = time.monotonic(), _size(trial)
        part, few = _part(trial, size, initial)
        own = max(floor, next_token_floor(trial, part or {}))
        attempts, best, accuracy = _attempts(trial, part or {}, own, known, deadline)
        if part is not None and _left(_lowest(list(attempts[best].losses)), attempts[best].losses[0], own) > _FITTED:
            # What could not be learned from a few samples is tried on the whole batch before anything is said.
            own = max(floor, next_token_floor(trial, {}))
            attempts, best, accuracy = _attempts(trial, {}, own, known, deadline)
        else:
            size = few if part is not None else size
            initial = attempts[best].losses[0]
        over = time.monotonic() > deadline
        if len(attempts[0].losses) < 5:
            msg = "the budget was spent before the batch could be fitted"
            raise CannotMeasureError(msg)
        final = _lowest(list(attempts[best].losses))
        call = main_loss_call(tape)
        spent = time.monotonic() - began
        return Overfit(
            attempts=tuple(attempts),
            best=best,
            batch_size=size,
            initial=initial,
            final=final,
            floor=own,
            unbounded=not known,
            reached=_left(final, initial, own),
            accuracy=accuracy,
            kind=call[1].name if call else "",
            conflicting=_conflicting(tape, call[2].get("target") if call else None),
            cut_short=over,
            step_equivalents=spent / recording.step_time if recording.step_time else 0.0,
            where=recording.frames.location(tape.place),
            endless_where=recording.frames.location(_largest_term(trial)) if final < -_ENDLESS * max(abs(initial), 1.0) else None,
        )


def _largest_term(trial: Rehearsal) -> Place | None:
    """Where the term of the loss is made that is the largest by now."""
    tape = trial.tape
    parts = {t.operation.outputs[0]: t for t in terms(tape) if t.operation.outputs}
    values = trial.replay(change=without_regularisation, grad=False, keep=tuple(parts)) if parts else {}
    sizes = {slot: abs(float(values[slot].sum())) * parts[slot].factor for slot in parts if slot in values}
    largest = max(sizes, key=lambda slot: sizes[slot], default=None)
    return parts[largest].operation.place if largest is not None else tape.place


def _lowest(losses: list[float]) -> float:
    return min((x for x in losses if math.isfinite(x)), default=math.inf)


def _left(loss: float, initial: float, floor: float) -> float:
    return (loss - floor) / (initial - floor) if initial > floor else 0.0


def _part(trial: Rehearsal, size: int, whole: float) -> tuple[dict[int, Tensor] | None, int]:
    """A few samples of the batch as a fill, their classes as different as they can be, and their number.

    None when the batch is small, the step is fixed to its size, or its loss, ``whole`` for all samples, is no average over them.
    """
    tape = trial.tape
    rows = {slot: tape.outside[slot] for slot in tape.batch.values()}
    few = _FEW if max((t[0].numel() for t in rows.values() if t.dim()), default=0) >= _MANY_NUMBERS else _PART
    if size < 2 * few or not rows or any(not t.dim() or t.shape[0] != size for t in rows.values()):
        return None, 0
    chosen = _varied(next((t for t in rows.values() if t.dim() == 1 and not t.is_floating_point()), None), size)[:few]
    fill = {slot: t[chosen.to(t.device)] for slot, t in rows.items()}
    try:
        first = float(trial.loss(fill, change=without_regularisation, grad=False))
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None, 0
    finally:
        trial.rewind()
    return (fill, few) if alike(first, whole, _ALIKE) else (None, 0)


def _varied(labels: Tensor | None, size: int) -> Tensor:
    """The samples' positions, one of each class first, then a second of each, and so on."""
    if labels is None:
        return torch.arange(size)
    turns: dict[int, int] = {}
    keys = []
    for position, label in enumerate(labels.tolist()):
        turns[label] = turns.get(label, -1) + 1
        keys.append((turns[label], position))
    return torch.tensor([position for _, position in sorted(keys)])


def _attempts(
    trial: Rehearsal, fill: dict[int, Tensor], floor: float, known: bool, deadline: float
) -> tuple[list[Attempt], int, float | None]:
    """Try one learning rate after the other until one fits; returns the attempts, the best one's position and its accuracy."""
    attempts: list[Attempt] = []
    best, accuracy = 0, None
    rates = [*_RATES]
    for lr in rates:
        losses, right = _attempt(trial, fill, lr, floor, known, deadline)
        attempts.append(Attempt(optimizer="Adam", lr=lr, losses=tuple(losses)))
        if _lowest(losses) <= _lowest(list(attempts[best].losses)):
            best, accuracy = len(attempts) - 1, right
        if _left(_lowest(losses), losses[0], floor) <= _FITTED or time.monotonic() > deadline:
            break
        if lr == _RATES[-1]:
            rates.append(_HIGHER if best == len(attempts) - 1 else _LOWER)
    return attempts, best, accuracy


def _attempt(
    trial: Rehearsal, fill: dict[int, Tensor], lr: float, floor: float, known: bool, deadline: float
) -> tuple[list[float], float | None]:
    trial.rewind()
    optimizer = torch.optim.Adam(trial.leaves, lr=lr)
    losses: list[float] = []
    fitted = 0
    for step in range(_STEPS):
        losses.append(trial.step(optimizer, fill, without_regularisation))
        left = _left(losses[-1], losses[0], floor)
        fitted += left <= _FITTED
        if fitted == 1 and not known:
            optimizer.param_groups[0]["lr"] = 10 * lr  # what has an end does not fall much further
        enough = fitted > (0 if known else _BEYOND) or losses[-1] < -_ENDLESS * max(abs(losses[0]), 1.0)
        if not math.isfinite(losses[-1]) or enough or time.monotonic() > deadline:
            break
        if step >= _PATIENCE and _left(_lowest(losses), losses[0], floor) > 0.97:
            break
    return losses, accuracy(trial, fill)


def _floor(trial: Rehearsal) -> tuple[float, bool]:
    """The lowest loss that a perfect prediction reaches, and whether it is known: the loss must be one call, scaled at most."""
    tape = trial.tape
    call = main_loss_call(tape)
    if call is None:
        return 0.0, False
    position, op, bound = call
    slot = op.outputs[0]
    with torch.no_grad():
        perfect = _perfect(op, bound)
        if slot != tape.loss:
            kept = tape.replay(grad=False, keep=(slot,)).get(slot)
            if kept is None:
                return 0.0, False
            nothing = tape.replay(replace={slot: torch.zeros_like(kept)}, grad=False)[tape.loss]
            if abs(float(nothing.sum())) > 1e-6 * max(abs(tape.value), 1e-6):
                return 0.0, False
        if perfect is None:
            return 0.0, op.name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "cross_entropy", "nll_loss")
        arguments = tape.observed[position][0]
        value = op.call(perfect, *arguments[1:], **tape.observed[position][1]) if arguments else op.call(**{**bound, "input": perfect})
        lowest = value if slot == tape.loss else tape.replay(replace={slot: value}, grad=False)[tape.loss]
        return float(lowest.sum()) / tape.scale, True


def _perfect(op: Operation, bound: dict[str, Tensor]) -> Tensor | None:
    """The prediction that minimises a call whose targets are soft or smoothed; None when zero can be reached."""
    target = bound["target"]
    smoothing = float(bound.get("label_smoothing", 0.0) or 0.0)
    if op.name == "cross_entropy" and (smoothing or target.is_floating_point()):
        given = bound["input"]
        classes = given.shape[1] if given.dim() > 1 else given.shape[0]
        if not target.is_floating_point():
            valid = target.clamp(min=0)
            target = torch.nn.functional.one_hot(valid, classes).to(given.dtype)
            target = target.movedim(-1, 1) if given.dim() > 1 else target
        return (target * (1 - smoothing) + smoothing / classes).clamp_min(1e-8).log().to(given.dtype)
    if op.name == "binary_cross_entropy_with_logits" and target.is_floating_point():
        return torch.logit(target.clamp(1e-6, 1 - 1e-6)).to(bound["input"].dtype)
    if op.name == "binary_cross_entropy":
        return target.clamp(1e-6, 1 - 1e-6).to(bound["input"].dtype)
    return None


def _size(trial: Rehearsal) -> int:
    backward = trial.recording.tape_backward
    tensors = list(backward.batch.leaves.values()) if backward and backward.batch else [t for _, t in (backward.inputs if backward else [])]
    sizes = [t.shape[0] for t in tensors if t.dim()]
    return max(set(sizes), key=sizes.count) if sizes else 0


def _conflicting(tape: Tape, target: Tensor | None) -> int:
    """Samples whose inputs are the same as another's while their targets differ."""
    if target is None or not target.dim():
        return 0
    rows = target.shape[0]
    inputs = [tape.outside[s] for s in tape.batch.values() if tape.outside[s].dim() > 1 and tape.outside[s].shape[0] == rows]
    inputs = [t for t in inputs if t.shape != target.shape or not torch.equal(t.to(target.dtype), target)]
    if not inputs:
        return 0
    flat = torch.cat([t.reshape(rows, -1).double() for t in inputs], 1)
    group = torch.unique(flat, dim=0, return_inverse=True)[1]
    labels = torch.unique(target.reshape(rows, -1).double(), dim=0, return_inverse=True)[1]
    seen: dict[int, set[int]] = {}
    for g, y in zip(group.tolist(), labels.tolist(), strict=True):
        seen.setdefault(g, set()).add(y)
    return sum(1 for g in group.tolist() if len(seen[g]) > 1)
