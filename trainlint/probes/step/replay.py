"""Whether replays can be trusted, and the tools that experiments by replay share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.measurements import Replay
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.optimizer_copies import copied
from trainlint.probes.step.parts import batch_rows, resized
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.seen import Batch
from trainlint.record.snapshot import put, state_tensors
from trainlint.record.tape import Tape
from trainlint.record.verify import close
from trainlint.settings import Settings

__all__ = ["Rehearsal", "measure_replay", "rehearsal", "usable"]

#: How torch says that tensors do not fit together.
_OTHER_SHAPES = re.compile(r"must match|shape|out of bounds|out of range|size of tensor", re.IGNORECASE)


def measure_replay(recording: Recording, deadline: float, settings: Settings) -> Replay:
    """What the recorder found out about its tape."""
    own, replayed, following, again = recording.trust_losses
    return Replay(
        trust=recording.trust,
        reason=recording.trust_reason,
        operations=len(recording.tape.operations) if recording.tape else 0,
        loss=own,
        replayed_loss=replayed,
        next_loss=following,
        next_replayed_loss=again,
    )


@dataclass
class Rehearsal:
    """The recorded step as something that can be trained on again, from the weights the script began with."""

    recording: Recording
    tape: Tape
    leaves: list[Tensor]
    """Trainable tensors that the loss reaches."""
    fills: list[dict[int, Tensor]]
    """Batches to feed, the tape's own first."""
    first: float | None = None
    """Loss of the tape's own batch at the weights that the script began with, where that is known."""
    resized: dict[int, dict[int, Operation]] = field(default_factory=dict)
    """Number of samples -> operations that hold the recorded number, changed to it."""

    def loss(
        self, fill: dict[int, Tensor] | None = None, *, change: Callable[[Operation], Operation] | None = None, grad: bool = True
    ) -> Tensor:
        """The loss of one replayed forward, the gradient scaler's factor taken out. Batches of another size are tried, which torch may refuse."""
        return self.replay(fill, change=change, grad=grad)[self.tape.loss].sum() / self.tape.scale

    def replay(
        self,
        fill: Mapping[int, Tensor] | None = None,
        *,
        change: Callable[[Operation], Operation] | None = None,
        grad: bool = True,
        keep: Sequence[int] = (),
    ) -> dict[int, Tensor]:
        """The step called again, as `Tape.replay`; what holds the recorded number of samples is changed with that of ``fill``."""
        return self.tape.replay(fill, change=self.fitted(fill, change), grad=grad, keep=keep)

    def fitted(
        self, fill: Mapping[int, Tensor] | None, change: Callable[[Operation], Operation] | None = None
    ) -> Callable[[Operation], Operation] | None:
        """``change``, and with it that of the operations that hold the recorded number of samples where ``fill`` has another."""
        rows = batch_rows(self.tape, fill) if fill else 0
        if not rows or rows == batch_rows(self.tape):
            return change
        if rows not in self.resized:
            self.resized[rows] = resized(self.tape, rows)
        other = self.resized[rows]
        return (lambda op: change(other.get(id(op), op))) if change else (lambda op: other.get(id(op), op))

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for ``leaves``; the user's ``.grad`` is not touched."""
        return torch.autograd.grad(loss, self.leaves, allow_unused=True)

    def step(
        self,
        optimizer: Optimizer,
        fill: dict[int, Tensor] | None,
        change: Callable[[Operation], Operation] | None = None,
        max_norm: float | None = None,
    ) -> float:
        """One replayed training step, gradients clipped to ``max_norm``; returns the loss before it, NaN when torch refused.

        Raises CannotMeasureError when the step's shapes or indices depend on the weights, as a detector's proposals do.
        """
        try:
            loss = self.loss(fill, change=change)
        except (RuntimeError, ValueError, ArithmeticError, IndexError) as error:
            if isinstance(error, IndexError) or _OTHER_SHAPES.search(str(error)):
                msg = "the step works on tensors whose shapes depend on the weights, which a replay of its operations cannot follow"
                raise CannotMeasureError(msg) from error
            return math.nan  # weights gone astray: a loss that checks its input's range
        value = float(loss.detach())
        if math.isfinite(value):
            for leaf, gradient in zip(self.leaves, self.gradients(loss), strict=True):
                dense = gradient is not None and gradient.is_sparse and isinstance(optimizer, torch.optim.Adam)
                leaf.grad = gradient.to_dense() if dense and gradient is not None else gradient
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.leaves, max_norm)
            optimizer.step()
        return value

    @property
    def max_norm(self) -> float | None:
        """The limit that the script clips gradient norms to at every step; None when it does not."""
        steps = [s for o in self.recording.training for s in o.steps]
        limits = {s.clip[1] for s in steps if s.clip is not None and s.clip[0] is not None and not s.clip[3]}
        return limits.pop() if len(limits) == 1 and all(s.clip is not None for s in steps) else None

    def rewind(self) -> None:
        """Put back the weights and buffers that the script began with."""
        initial = self.recording.initial
        tensors = {id(t): t for t in (*state_tensors(self.recording.models()), *self.leaves) if not t.is_sparse}
        put((tensor, initial[key]) for key, tensor in tensors.items() if key in initial)

    def own_optimizer(self, lr: float) -> Optimizer:
        """A fresh copy of the user's optimizer with ``lr`` for its highest group and the others in proportion; of all that step together."""
        return copied(self.recording, {id(t) for t in self.leaves}, lr)


@contextmanager
def rehearsal(
    recording: Recording, *, batches: bool = False, fresh: Sequence[Batch] = (), change: Callable[[Operation], Operation] | None = None,
    broken: bool = False,
) -> Iterator[Rehearsal]:  # fmt: skip
    """A rehearsal with the initial weights in place; gradients stored by the user are put back afterwards.

    With ``batches`` the recorded batches are fed as well, which needs the higher kind of trust. ``change`` is the one under which
    the loss must be connected to a parameter. With ``broken`` a step will do that could not be checked because its loss is no number,
    as long as its replay gives none either. Weights are the caller's to
    restore (the probe session does). Raises CannotMeasureError when the tape is not trusted.
    """
    tape = recording.tape
    unchecked = broken and (tape is None or recording.trust == "none")
    if unchecked:
        tape = _repeats_itself(recording)
    if tape is None or (recording.trust == "none" and not unchecked):
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    if recording.turns > 1:
        msg = f"{recording.turns} optimizers train in turns, so one loss alone says little"
        raise CannotMeasureError(msg)
    held = {id(p) for o in recording.training for p in o.parameters}
    leaves = [t for t in tape.leaves.values() if not held or id(t) in held]
    if not leaves:
        msg = "the loss reaches no parameter that an optimizer holds"
        raise CannotMeasureError(msg)
    if any(t.is_sparse for t in leaves):
        msg = "sparse parameters are not replayed"
        raise CannotMeasureError(msg)
    gradients = [(t, t.grad) for t in leaves]
    rehearsed = Rehearsal(recording, tape, leaves, [{}])
    if batches and (recording.trust == "next step" or unchecked) and tape.batch:
        rehearsed.fills = usable(
            tape, [b.leaves for b in (*recording.batches, *fresh) if b.iteration is None or b.iteration.phase == "train"]
        ) or [{}]
    elif batches and recording.trust == "next step":
        rehearsed.fills = [{}, *recording.fills]
    try:
        rehearsed.rewind()
        if not _is_connected(rehearsed, change):
            msg = "the loss is not connected to any parameter, so nothing can be trained"
            raise CannotMeasureError(msg)
        yield rehearsed
    finally:
        for tensor, gradient in gradients:
            tensor.grad = gradient


_CONNECTED: WeakKeyDictionary[Recording, tuple[Tape, float]] = WeakKeyDictionary()
"""The tapes whose loss was seen to be connected to a parameter, nothing changed, and that loss at the first weights."""


def _is_connected(rehearsed: Rehearsal, change: Callable[[Operation], Operation] | None) -> bool:
    tape, first = _CONNECTED.get(rehearsed.recording, (None, None))
    if change is not None or tape is not rehearsed.tape:
        loss = rehearsed.loss({}, change=change)
        if change is not None or not loss.requires_grad:
            return loss.requires_grad
        first = float(loss.detach())
        _CONNECTED[rehearsed.recording] = rehearsed.tape, first
    rehearsed.first = first
    return True


def _repeats_itself(recording: Recording) -> Tape | None:
    """A tape of the first step that gives its own loss again, a number or none, from the first weights."""
    for backward in (*recording.first_tapes, recording.broken):
        if backward is None or backward.tape is None:
            continue
        trial = Rehearsal(recording, backward.tape, list(backward.tape.leaves.values()), [{}])
        trial.rewind()
        with torch.no_grad():
            again = float(backward.tape.replay(random_of=backward.tape, grad=False)[backward.tape.loss].sum())
        if math.isfinite(again) == math.isfinite(backward.tape.value) and (not math.isfinite(again) or close(again, backward.tape.value)):
            return backward.tape
    return None


def usable(tape: Tape, batches: Sequence[dict[str, Tensor]]) -> list[dict[int, Tensor]]:
    """Fills for the batches that have the shapes and types the tape was recorded with."""
    found = []
    for leaves in batches:
        fill = {slot: leaves[path] for path, slot in tape.batch.items() if path in leaves}
        fits = all(fill[s].shape == tape.outside[s].shape and fill[s].dtype == tape.outside[s].dtype for s in fill)
        if len(fill) == len(tape.batch) and fits:
            found.append({s: t.to(tape.outside[s].device) for s, t in fill.items()})
    return found
