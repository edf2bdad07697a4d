"""Trust in a tape: it counts only after it gave the loss of the next real step, from that step's weights, batch and random numbers."""

from __future__ import annotations

import math

import torch
from torch import nn

from trainlint.record.random_state import random_kept
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.tape import Tape
from trainlint.record.tapewriter import TapeWriter

__all__ = ["TapeKeeper"]

#: backward() calls that are taped at most before a tape must have earned its trust.
_MOST_TAPES = 24
#: Places whose first tape is kept beside those of the first step.
_MOST_TURNS = 4
#: Steps of one place that a new one is compared with: loops over lengths, or batches of two sizes, come in turns.
_MOST_COMPARED = 4
#: Further steps whose data is kept when no loader hands out batches, and the most numbers in all.
_MOST_FILLS, _MOST_NUMBERS = 7, 1 << 26


class TapeKeeper:
    """Takes each new tape, checks the one before against it, and keeps the first that holds."""

    def __init__(self, recording: Recording, writer: TapeWriter) -> None:
        self.recording = recording
        self.writer = writer
        self._last: dict[object, list[Backward]] = {}
        self.taken = 0
        """Steps that were taped."""

    def wants_tape(self, steps: int) -> bool:
        """Whether the coming step is to be taped."""
        return self.taken < _MOST_TAPES and (
            steps < 2 or self.recording.trust != "next step" or (self.recording.broken is None and steps < 8)
        )

    def offer(self, backward: Backward) -> None:
        """A step was taped; its weights are still the ones it ran with."""
        recording, tape = self.recording, backward.tape
        if tape is None:
            return
        self.taken += 1
        if not recording.steps and (recording.optimizers or backward.place not in self._last):  # weights may be updated by hand
            recording.first_tapes.append(backward)
        elif len(recording.optimizers) > 1 and backward.place not in self._last and len(recording.turn_tapes) < _MOST_TURNS:
            recording.turn_tapes.append(backward)
        backward.cuts = tape.cuts
        earlier = self._most_alike(self._last.get(backward.place, []), tape)
        lapsed = self._remember(backward, tape)
        if earlier is None or earlier.tape is None or recording.trust == "next step":
            self._let_go(lapsed)
            if recording.trust == "none":
                recording.trust_reason = "only one training step was recorded, so there was nothing to check the replay against"
            elif recording.trust == "next step":
                self._keep_data(backward, tape)
            return
        if not math.isfinite(tape.value):
            if recording.trust == "none":
                recording.trust_reason = "the loss of the second step is not finite"
            return
        self._judge(earlier, earlier.tape, backward, tape)
        self._let_go(lapsed)

    @staticmethod
    def _most_alike(earlier: list[Backward], tape: Tape) -> Backward | None:
        """The last step before that called the same operations on the same shapes; else on others; else the last."""
        same = [b for b in earlier if b.tape is not None and b.tape.signature() == tape.signature()]
        fitting = [b for b in same if b.tape is not None and b.tape.outside_shapes() == tape.outside_shapes()]
        return next(reversed(fitting or same or earlier), None)

    def _remember(self, backward: Backward, tape: Tape) -> list[Backward]:
        """Keep the step for those to come; returns those that are compared with no more: of its own kind, or too many."""
        kind = (tape.signature(), tape.outside_shapes())
        before = self._last.get(backward.place, [])
        others = [b for b in before if b.tape is not None and (b.tape.signature(), b.tape.outside_shapes()) != kind]
        kept = others[-_MOST_COMPARED + 1 :] if self.recording.trust != "next step" else []
        self._last[backward.place] = [*kept, backward]
        return [b for b in before if not any(b is k for k in kept)]

    def _let_go(self, backwards: list[Backward]) -> None:
        """Free tapes that nothing needs any more."""
        recording = self.recording
        needed = [*recording.first_tapes, *recording.turn_tapes, recording.tape_backward, recording.broken]
        for backward in backwards:
            if not any(backward is kept for kept in needed):
                backward.tape = None

    def _judge(self, earlier: Backward, old: Tape, backward: Backward, new: Tape) -> None:
        recording = self.recording
        own = self._loss(new, {}, new)
        following: float | None = None
        reason = ""
        if old.signature() != new.signature():
            reason = "the steps call different operations"
        else:
            fill = corresponding(old, new)
            if fill is None:
                reason = "the steps use tensors in different ways"
            else:
                following = self._loss(old, fill, new)
                if following is None:
                    reason = "the batches have different shapes"
                elif not close(following, new.value):
                    reason = "something outside of torch changes from step to step"
        if following is not None and not reason:
            recording.trust, recording.trust_reason = "next step", ""
            recording.tape, recording.tape_backward = old, earlier
            recording.trust_losses = (old.value, old.value, new.value, following)
            self._keep_data(backward, new)
        elif own is not None and close(own, new.value) and old.signature() == new.signature() and recording.trust == "none":
            recording.trust, recording.trust_reason = "same batch", reason
            recording.tape, recording.tape_backward = new, backward
            recording.trust_losses = (new.value, own, new.value, following)
        elif recording.trust == "none":
            recording.trust_reason = reason or "calling the recorded operations again gave another loss"
            recording.trust_losses = (new.value, math.nan if own is None else own, new.value, following)

    def _keep_data(self, backward: Backward, new: Tape) -> None:
        """Keep what another step was fed, so that a loop without a loader can be rehearsed on more than one batch."""
        recording, old = self.recording, self.recording.tape
        source = recording.tape_backward
        if old is None or old.batch or source is None or source.place != backward.place or old.signature() != new.signature():
            return
        fill = corresponding(old, new) or {}
        fits = all(t.shape == old.outside[s].shape and t.dtype == old.outside[s].dtype and t.is_leaf for s, t in fill.items())
        numbers = sum(t.numel() for t in fill.values()) * (len(recording.fills) + 1)
        if fits and len(recording.fills) < _MOST_FILLS and numbers <= _MOST_NUMBERS and not _same_values(fill, old.outside):
            recording.fills.append({s: t.detach().clone().requires_grad_(t.requires_grad) for s, t in fill.items()})

    @staticmethod
    def _loss(tape: Tape, fill: dict[int, torch.Tensor], random_of: Tape) -> float | None:
        """The tape's loss; None when torch refuses.

        The user's graph may still be waiting for its backward, so buffers that the step changes are copies here.
        """
        modules = {id(m): m for op in tape.operations if (m := op.module) is not None}
        buffers = {b.data_ptr() for m in modules.values() for b in m.buffers(recurse=False)}
        copies = {s: tape.pristine.get(s, t).clone() for s, t in tape.constants.items() if not t.is_sparse and t.data_ptr() in buffers}
        try:
            with random_kept():
                return float(tape.replay({**copies, **fill}, random_of=random_of, grad=False)[tape.loss].detach().sum())
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError, NotImplementedError):
            return None


def corresponding(old: Tape, new: Tape) -> dict[int, torch.Tensor] | None:
    """The new step's outside tensors for the old step's slots; None when the two do not pair up."""
    if len(old.outside) != len(new.outside):
        return None
    fill: dict[int, torch.Tensor] = {}
    for (slot, before), (other, after) in zip(old.outside.items(), new.outside.items(), strict=True):
        if isinstance(before, nn.Parameter) or isinstance(after, nn.Parameter):
            if before is not after:
                return None
        elif other in new.pristine:
            fill[slot] = new.pristine[other].clone()
        elif before is not after and not same_memory(before, after):
            fill[slot] = after
    return fill


def _same_values(fill: dict[int, torch.Tensor], outside: dict[int, torch.Tensor]) -> bool:
    return all(torch.equal(t, outside[s]) for s, t in fill.items() if not t.is_sparse)


def same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are views of the same values: a buffer, seen in two steps."""
    if one.is_sparse or other.is_sparse or one.layout != torch.strided:
        return False
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.numel() > 0


def close(value: float, other: float) -> bool:
    """Equal but for the order of floating-point sums in threaded kernels."""
    return math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-6)
