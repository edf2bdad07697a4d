"""Told of losses, backward passes, and whatever is done to gradients before a step."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.record.frames import Place
from trainlint.record.gradients import has_gradient, norm, size_of_gradients, walk
from trainlint.record.listeners.books import BARE, MEASURED_STEPS, guarded
from trainlint.record.listeners.models import ModelListener
from trainlint.record.parameters import parameters_of
from trainlint.record.seen import Backward, Batch
from trainlint.record.tape import Tape

__all__ = ["GradientListener"]


#: Iterators that are remembered beside the latest: a loop clips a few groups of parameters in turn.
_READ_ONCE = 8


class GradientListener(ModelListener):
    """Which losses give which parameters gradients, and what becomes of these."""

    def loss_called(self, name: str) -> None:
        """A loss function is called by the loop; calls in a row at one line, as over many boxes, count once."""
        if not self.on or self._verifying:
            return
        place, last = self.frames.here(), next(iter(self.recording.happenings[-1:]), None)
        if last is None or (last.kind, last.place) != ("loss", place):
            self.note("loss", name, place)

    @guarded
    def backward_begun(self, loss: Tensor) -> Backward:
        """backward() is about to run on ``loss``."""
        recording = self.recording
        place = self.frames.here()
        for seen in recording.optimizers:
            if seen.held and not any(has_gradient(p) for p in seen.parameters):
                seen.dropped += [(b, None) for b in seen.held if b in seen.pending]
                seen.held.clear()
        scale = self._scale if self._scaled else 1.0
        self._scaled = False
        self._was_writing = self.writer.active
        if self.writer.active and self.recording.answers.any:
            self.recording.answers.used(self.writer.given(loss), self.current)
        tape = self.writer.cut(loss, place, scale) if self.writer.active else None
        self.writer.active = False
        self.writer.provenance.on = False
        if not recording.backwards:
            self._keep_initial()  # weights that the script updates by hand are changed without a word
        value = float(loss.detach().sum())
        graph = walk(loss)
        self.marks.add("loss", loss, place, len(recording.backwards))
        backward = Backward(
            len(recording.backwards), value / scale, place, scale, graph.leaves, self.current,
            loss.grad_fn is not None, loss.grad_fn is None and loss.is_leaf and loss.requires_grad, tape,
            {o.index: len(o.held) for o in recording.optimizers}, list(self._pending_inputs), self._batch_of(tape), nodes=graph.nodes,
        )  # fmt: skip
        if tape is not None:
            tape.value = value
            self._verifying = True
            try:
                self.keeper.offer(backward)
            finally:
                self._verifying = False
        elif self._was_writing and not self.keeper.taken:
            recording.trust_reason = "its operations could not be followed to the loss"
        # A graph hidden in a function of the user's own shows no mark: then all calls count.
        reached = [c for c in self._recent if not c.marked or c.happening in graph.marks] or self._recent
        for call in reached:
            call.trained = True
        self._recent = [c for c in self._recent if not c.trained]
        if self.current is not None:
            self.current.backwards += 1
        backward.happening = self.note("backward", "", place, value=backward.value)
        recording.backwards.append(backward)
        return backward

    def _keep_initial(self, parameters: Iterable[Tensor] = ()) -> None:
        """Keep the values of some parameters, and of the models called first, that were not kept before."""
        models = [c.module for c in self.recording.calls[:64]]
        for tensor in (*parameters, *(t for m in models for t in (*parameters_of(m), *m.buffers()))):
            if id(tensor) not in self.recording.initial and not torch.nn.parameter.is_lazy(tensor):
                self.recording.initial[id(tensor)] = tensor.detach().clone()

    def _batch_of(self, tape: Tape | None) -> Batch | None:
        """The kept batch whose tensors the step used; the latest when no tape tells."""
        if tape is not None and tape.batch_source is not None and tape.batch_source < len(self._handed):
            return self._handed[tape.batch_source][0]
        return self._last_batch

    @guarded
    def backward_ended(self, backward: Backward, given: Mapping[int, Tensor] | None = None) -> None:
        """Gradients are there: those ``given``, by id of the parameter, else each parameter's own."""
        recording = self.recording
        reached = set(backward.reached)
        for seen in recording.optimizers:
            if any(id(p) in reached for p in seen.parameters):
                seen.held.append(backward.index)
                seen.pending.append(backward.index)
        measured = self.steps_done < MEASURED_STEPS and self.steps_done not in BARE
        if measured:
            parameters = {id(p): p for o in recording.optimizers for p in o.parameters} | {
                id(p): p for c in recording.calls[:64] for p in parameters_of(c.module)
            }
            gradients = {i: p.grad for i, p in parameters.items() if p.grad is not None} if given is None else given
            backward.norms = {i: norm(g) / backward.scale for i, g in gradients.items()}
            backward.norm = math.sqrt(sum(n * n for n in backward.norms.values()))
        if (
            recording.broken is None
            and not (math.isfinite(backward.value) and math.isfinite(backward.norm or 0.0))
            and backward.scale == 1.0
        ):
            recording.broken = backward
            tensors = {id(t): t for c in recording.calls[-64:] for t in (*parameters_of(c.module), *c.module.buffers())}
            recording.broken_state = {i: t.detach().clone() for i, t in tensors.items() if not torch.nn.parameter.is_lazy(t)}
        self.writer.active = self._was_writing
        recording.seeds.backward_ended(backward.index, self.frames.stack)
        if not recording.training and not recording.loaders_of("train") and len(recording.backwards) >= 24:
            self._finish()

    @guarded
    def cleared(self, parameters: Iterable[Tensor], subject: str) -> None:
        """Gradients of some parameters were cleared."""
        place = self.frames.here()
        self.note("clear", subject, place)
        if self._in_closure and self._last_step_backward < len(self.recording.backwards):
            self._start_tape()  # what the optimizer did to the weights since the last evaluation is no part of the next
        self.recording.clear_calls += 1
        ids = {id(p) for p in parameters}
        for seen in self.recording.optimizers:
            if seen.held and any(id(p) in ids for p in seen.parameters) and not any(has_gradient(p) for p in seen.parameters):
                seen.dropped += [(b, place) for b in seen.held if b in seen.pending]
                seen.held.clear()

    @guarded
    def clipped(self, parameters: Collection[Tensor], max_norm: float, before: float | None, given: Iterator[Tensor] | None = None) -> None:
        """Gradients were clipped; the tensors came from ``given``, where that can be read only once."""
        place = self.frames.here()
        ids = {id(p) for p in parameters}
        scaled = self._scale != 1.0 and not self._unscaled
        optimized = any(id(p) in ids for seen in self.recording.optimizers for p in seen.parameters)
        self.note(
            "clip", "", place, max_norm=float(max_norm), norm=before if before is not None else float("nan"), scaled=scaled,
            tensors=len(ids), idle=not optimized and not any(has_gradient(p) for p in parameters),
            used_up=given is not None and not ids and any(g is given for g in self._read_once),
        )  # fmt: skip
        if given is not None:
            self._read_once = (*self._read_once[-_READ_ONCE:], given)
        for seen in self.recording.optimizers:
            if any(id(p) in ids for p in seen.parameters):
                seen.clip = (before, float(max_norm), place, scaled)
                if not seen.pending and seen.steps:
                    seen.clip_late = place

    @guarded
    def size_of_gradients(self, optimizer: Optimizer, *, by_norm: bool) -> float:
        """How large the gradients of an optimizer's parameters are, by their norm or by their largest entry."""
        return size_of_gradients(optimizer, by_norm=by_norm)

    @guarded
    def clip_left_out(self, place: Place, limit: float, size: float, *, by_norm: bool) -> None:
        """The user's method at ``place``, which a trainer calls to clip to a configured limit, left the gradients as they were."""
        self.note("clip-left-out", "", place, max_norm=limit, norm=size, by_norm=by_norm)

    _read_once: tuple[Iterator[Tensor], ...] = ()
    """The iterators that clipping got its tensors from, the latest; kept alive, so that none of them passes for another."""
    _unscaled = False
    in_scaler = False
    """A gradient scaler's step() is running."""

    @guarded
    def scaled(self, factor: float) -> None:
        """A gradient scaler multiplied a loss."""
        self._scale, self._scaled, self._unscaled = factor, True, False

    @guarded
    def unscaled(self) -> None:
        """A gradient scaler took its factor out of the gradients."""
        self._unscaled = True
        self.note("unscale")
