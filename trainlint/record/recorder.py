"""Follows a training loop: told by the hooks what happens, it keeps the books and says when enough was seen."""

from __future__ import annotations

import functools
import math
import os
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trainlint.record.conditions import called_sometimes
from trainlint.record.following import another_training_follows
from trainlint.record.frames import Frames, Place
from trainlint.record.planned import planned_epochs
from trainlint.record.recording import (
    Backward,
    Batch,
    Call,
    Happening,
    Iteration,
    Loader,
    OptimizerSeen,
    Recording,
    SchedulerSeen,
    StepSeen,
)
from trainlint.record.retained import Marks
from trainlint.record.shadows import ShadowWatch
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape
from trainlint.record.tapewriter import TapeWriter
from trainlint.record.verify import TapeKeeper
from trainlint.settings import Settings

__all__ = ["Recorder", "StopRecording"]

#: Optimizer steps whose gradients and updates are measured per parameter.
_MEASURED_STEPS = 8
#: Steps (counted from 0) that run bare, to time them.
_BARE = (3, 4)
#: Seconds that an earlier training is let run on until the next begins, and after how many its epochs are cut.
_REST, _REST_UNCUT = 30.0, 12.0
#: Largest batch that is copied and kept, in bytes.
_KEEP_BYTES = 256 * 2**20


P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[Recorder, P], R]) -> Callable[Concatenate[Recorder, P], R | None]:
    """A listener that fails stops listening; the user's script goes on as if it were alone."""

    @functools.wraps(method)
    def listen(self: Recorder, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.enabled = False
            self.writer.stop()
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            self.recording.notes.append(
                f"recording stopped early by a fault of trainlint's own ({type(error).__name__}: {error}, {where}); please report it"
            )
            return None

    return listen


class StopRecording(BaseException):
    """Ends the user's script once enough was seen. Not an Exception, so that ``except Exception`` lets it through."""


class Recorder:
    """The books of one recording. ``on_finish`` is called, once, when enough was seen; then the script is stopped."""

    def __init__(self, settings: Settings, frames: Frames, on_finish: Callable[[Recording], None] | None = None) -> None:
        self.settings = settings
        self.frames = frames
        self.writer = TapeWriter(frames)
        self.writer.on_loss = self.loss_called
        self.recording = Recording(frames, self.writer.provenance)
        self.keeper = TapeKeeper(self.recording, self.writer)
        self.marks = Marks(frames)
        self.on_finish = on_finish
        self.on_progress: Callable[[str], None] = lambda text: None
        self.enabled = True
        self.finished = False
        self.resting = False
        """An earlier training runs on, unobserved, until the next one builds its optimizer."""
        self.goes_on = False
        """Another training follows the one that was just recorded."""
        self.trainings = 1
        self.most_trainings = 1
        """Trainings of one script that are recorded."""
        self.begun = time.monotonic()
        """When the loop was first seen to run: imports and the preparation of data cost none of the budget."""
        self._running = False
        self.depth = 0
        self._pid = os.getpid()
        self._loaders: weakref.WeakKeyDictionary[DataLoader[Any], Loader] = weakref.WeakKeyDictionary()
        self._current: list[Iteration] = []
        self._optimizers: dict[int, OptimizerSeen] = {}
        self._schedulers: dict[int, SchedulerSeen] = {}
        self._mode_layers: dict[int, list[nn.Module]] = {}
        self._recent: list[Call] = []
        self._scale = 1.0
        self._scaled = False
        self._last_batch: Batch | None = None
        self._handed: list[tuple[Batch | None, dict[str, Tensor]]] = []
        self._was_writing = False
        self._verifying = False
        """A tape is being replayed: what it calls is not the loop's."""
        self._in_closure = False
        self._last_step_backward = 0
        self._taped = 0
        """backward() calls before the latest call of a model."""
        self._step_ended: float | None = None
        self._pending_inputs: list[tuple[str, Tensor]] = []
        self._used_places: set[Place] = set()

    # -- small helpers -------------------------------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether to look at all: not in a forked child, not while probing or resting, not under tracing."""
        return not self.resting and self.awake

    @property
    def awake(self) -> bool:
        """Whether to look at what is built: also while resting."""
        return self.enabled and os.getpid() == self._pid and torch._C._get_tracing_state() is None

    @property
    def current(self) -> Iteration | None:
        """The loader pass that gave the latest batch."""
        return self._current[-1] if self._current else None

    def note(self, kind: str, subject: str = "", place: Place | None = None, **info: Any) -> int:
        """Write an event down and return its number."""
        self.recording.happenings.append(Happening(kind, place or self.frames.here(), subject, self.current, info))
        return len(self.recording.happenings) - 1

    @property
    def steps_done(self) -> int:
        """Optimizer steps so far."""
        return sum(len(o.steps) for o in self.recording.optimizers)

    # -- loaders -------------------------------------------------------------------------------------------------------

    @guarded
    def loader_built(self, loader: DataLoader[Any]) -> None:
        """A DataLoader was constructed."""
        if loader not in self._loaders:
            entry = Loader(loader, len(self.recording.loaders), self.frames.here())
            self._loaders[loader] = entry
            self.recording.loaders.append(entry)

    @guarded
    def iteration_begun(self, loader: DataLoader[Any]) -> Iteration:
        """iter(loader) was called."""
        self.loader_built(loader)
        entry = self._loaders[loader]
        iteration = Iteration(entry, len(entry.iterations), self.frames.here(), begun=time.monotonic())
        if iteration.number == 0:
            entry.planned = planned_epochs(self.frames)
        entry.iterations.append(iteration)
        return iteration

    @guarded
    def wants_batch(self, iteration: Iteration) -> bool:
        """Whether a pass may go on; False cuts it short."""
        self._finish_if_done(iteration)
        settings, phase = self.settings, iteration.phase
        if phase == "train":
            enough = self._enough(iteration)
        elif phase == "val":
            enough = iteration.batches >= settings.val_batches and not (
                iteration.grad_forwards and iteration.batches < settings.train_batches
            )
        else:
            enough = iteration.batches >= settings.train_batches and time.monotonic() - iteration.begun > 10
        iteration.cut_short |= enough
        return not enough

    def _enough(self, iteration: Iteration) -> bool:
        return iteration.batches >= self.settings.train_batches and (iteration.steps >= 3 or iteration.batches >= 96)

    def ends_here(self) -> bool:
        """Whether the current training pass will be cut short before its next batch."""
        return self.on and self.current is not None and self.current.phase == "train" and self._enough(self.current)

    @guarded
    def batch_loaded(self, iteration: Iteration, batch: Any) -> None:
        """A pass handed out a batch."""
        iteration.batches += 1
        if iteration in self._current:
            self._current.remove(iteration)
        self._current.append(iteration)
        if iteration.batches == 1:
            self.note("epoch", f"loader {iteration.loader.index}", iteration.place, number=iteration.number)
        self.note("batch", f"loader {iteration.loader.index}", number=iteration.batches)
        try:
            leaves = dict(tensor_leaves(batch))
        except Exception:
            leaves = {}
        kept = sum(1 for b in self.recording.batches if b.iteration is iteration)
        size = sum(t.numel() * t.element_size() for t in leaves.values())
        if kept < self.settings.train_batches and len(self.recording.batches) < 40 and size < _KEEP_BYTES:
            copies = {p: t.detach().clone() for p, t in leaves.items()}
            self._last_batch = Batch(iteration, copies, {id(t): p for p, t in leaves.items()}, iteration.batches - 1)
            self.recording.batches.append(self._last_batch)
        else:
            self._last_batch = None
        self._recent = []
        self._pending_inputs = []
        # A loader that fetches ahead hands out a batch before the step on the one before it.
        self._handed = [*self._handed[-1:], (self._last_batch, leaves)]
        self._start_tape()
        self.on_progress(f"batch {iteration.batches} of loader {iteration.loader.index}")

    def _start_tape(self) -> None:
        if self.keeper.wants_tape(self.steps_done) and self.steps_done not in _BARE:
            self.writer.start([leaves for _, leaves in self._handed])
        else:
            self.writer.stop()

    # -- models --------------------------------------------------------------------------------------------------------

    @guarded
    def call_begun(self) -> None:
        """A module with parameters is called from outside any other."""
        if not (self.steps_done or self.recording.backwards) and not self.recording.calls and not self._current and not self.writer.active:
            self.writer.start()
        elif not self.recording.optimizers and not self._current and self._taped < len(self.recording.backwards):
            self._start_tape()  # what updates the weights is no optimizer of torch's, so that no step is told
        self._taped = len(self.recording.backwards)
        self._check_time()

    @guarded
    def call_ended(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, place: Place | None) -> None:
        """The call returned."""
        grad = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        layers = self._mode_layers.get(id(module))
        if layers is None:
            layers = self._mode_layers[id(module)] = [m for m in module.modules() if depends_on_mode(m)]
        off = [m for m in layers if not m.training]
        frozen = bool(off) and all(not p.requires_grad for m in off for p in _owner_parameters(m, module))
        inputs = tuple(t for _, t in tensor_leaves((args, kwargs)))
        outputs = tuple(t for _, t in tensor_leaves(_plain(output)))
        call = Call(
            module, place, module.training, grad, self.current, tuple(dict.fromkeys(type(m).__name__ for m in off)), len(layers) - len(off),
            frozen, happening=self.note("forward", type(module).__name__, place, training=module.training, grad=grad),
            mode_place=self.recording.modes.get(id(module)),
        )  # fmt: skip
        if len(self.recording.calls) < 2000:
            self.recording.calls.append(call)
        if self.current is not None:
            self.current.forwards += 1
            self.current.grad_forwards += grad
        if not grad and self.current is not None and self.current.forwards <= self.settings.val_batches:
            call.inputs = tuple(t.detach() for t in inputs)
        if grad:
            call.outputs = outputs
            self.marks.forget(inputs)
            for tensor in outputs[:1]:
                self.marks.add("outputs", tensor, place)
            self._recent.append(call)
            if len(self._recent) > 64:
                del self._recent[0]
            self._pending_inputs += [(f"input {i}", t) for i, t in enumerate(inputs)]
            del self._pending_inputs[:-16]

    # -- losses and gradients ------------------------------------------------------------------------------------------

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
        tape = self.writer.cut(loss, place, scale) if self.writer.active else None
        self.writer.active = False
        self.writer.provenance.on = False
        value = float(loss.detach().sum())
        reached, nodes = reached_leaves(loss)
        self.marks.add("loss", loss, place)
        backward = Backward(
            len(recording.backwards), value / scale, place, scale, reached, self.current,
            loss.grad_fn is not None, loss.grad_fn is None and loss.is_leaf and loss.requires_grad, tape,
            {o.index: len(o.held) for o in recording.optimizers}, list(self._pending_inputs), self._batch_of(tape), nodes=nodes,
        )  # fmt: skip
        if tape is not None:
            tape.value = value
            self._verifying = True
            try:
                self.keeper.offer(backward)
            finally:
                self._verifying = False
        for call in self._recent:
            call.trained = True
            call.outputs = ()
        self._recent = []
        if self.current is not None:
            self.current.backwards += 1
        backward.happening = self.note("backward", "", place, value=backward.value)
        recording.backwards.append(backward)
        return backward

    def _batch_of(self, tape: Tape | None) -> Batch | None:
        """The kept batch whose tensors the step used; the latest when no tape tells."""
        if tape is not None and tape.batch_source is not None and tape.batch_source < len(self._handed):
            return self._handed[tape.batch_source][0]
        return self._last_batch

    @guarded
    def backward_ended(self, backward: Backward) -> None:
        """Gradients are there."""
        recording = self.recording
        reached = set(backward.reached)
        for seen in recording.optimizers:
            if any(id(p) in reached for p in seen.parameters):
                seen.held.append(backward.index)
                seen.pending.append(backward.index)
        measured = self.steps_done < _MEASURED_STEPS and self.steps_done not in _BARE
        if measured:
            parameters = {id(p): p for o in recording.optimizers for p in o.parameters} | {
                id(p): p for c in recording.calls[:64] for p in c.module.parameters()
            }
            gradients = {i: p.grad for i, p in parameters.items() if p.grad is not None}
            backward.norms = {i: norm(g) / backward.scale for i, g in gradients.items()}
            backward.norm = math.sqrt(sum(n * n for n in backward.norms.values()))
        if (
            recording.broken is None
            and not (math.isfinite(backward.value) and math.isfinite(backward.norm or 0.0))
            and backward.scale == 1.0
        ):
            recording.broken = backward
            tensors = {id(t): t for c in recording.calls[-64:] for t in (*c.module.parameters(), *c.module.buffers())}
            recording.broken_state = {i: t.detach().clone() for i, t in tensors.items() if not torch.nn.parameter.is_lazy(t)}
        self.writer.active = self._was_writing
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
    def clipped(self, parameters: Iterable[Tensor], max_norm: float, before: float | None) -> None:
        """Gradients were clipped."""
        place = self.frames.here()
        ids = {id(p) for p in parameters}
        scaled = self._scale != 1.0 and not self._unscaled
        self.note("clip", "", place, max_norm=float(max_norm), norm=before if before is not None else float("nan"), scaled=scaled)
        for seen in self.recording.optimizers:
            if any(id(p) in ids for p in seen.parameters):
                seen.clip = (before, float(max_norm), place, scaled)
                if not seen.pending and seen.steps:
                    seen.clip_late = place

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

    # -- optimizers and schedulers -------------------------------------------------------------------------------------

    @guarded
    def optimizer_built(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed."""
        if self.resting:
            self.wake()
        if id(optimizer) in self._optimizers:
            return
        base = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        # A line that built the optimizer of an earlier training too says nothing about this one: who called it does.
        place = self.frames.here(beyond=self._used_places) or self.frames.here()
        seen = OptimizerSeen(optimizer, len(self.recording.optimizers), place, base)
        self._optimizers[id(optimizer)] = seen
        self.recording.optimizers.append(seen)

    @guarded
    def step_begun(self, optimizer: Optimizer, *, closure: bool = False) -> None:
        """An optimizer is about to step; with a closure, forward and backward happen inside the step."""
        unknown = id(optimizer) not in self._optimizers
        self.optimizer_built(optimizer)
        seen = self._optimizers[id(optimizer)]
        if unknown:  # built before the recorder listened
            ids = {id(p) for p in seen.parameters}
            seen.held = [b.index for b in self.recording.backwards if b.reached & ids]
            seen.pending = list(seen.held)
        self._in_closure = closure
        self._last_step_backward = len(self.recording.backwards)
        if not closure:
            self._was_writing, self.writer.active = self.writer.active, False
        now = time.monotonic()
        done = self.steps_done
        if self._step_ended is not None and done in _BARE:
            self.recording.step_seconds.append(now - self._step_ended)
        if not seen.settings:
            seen.settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
            seen.resumed = any(optimizer.state.values())
            self._keep_initial(seen)
        self._watch_copies(done)
        if done < _MEASURED_STEPS and done not in _BARE:
            seen.before = [p.detach().clone() for p in seen.parameters]

    def _watch_copies(self, steps: int) -> None:
        try:
            self.writer.shadows.before_step(self.recording.models, steps)
        except Exception as error:  # any object of the program may be met; one that cannot be looked at ends the watch only
            self.recording.notes.append(f"copies of the weights were not watched ({type(error).__name__}: {error})")
            self.writer.shadows = ShadowWatch()
            self.writer.shadows.closed = True
        self.recording.shadows = self.writer.shadows.shadows

    def _keep_initial(self, seen: OptimizerSeen) -> None:
        models = [c.module for c in self.recording.calls[:64]]
        for tensor in (*seen.parameters, *(t for m in models for t in (*m.parameters(), *m.buffers()))):
            if id(tensor) not in self.recording.initial and not torch.nn.parameter.is_lazy(tensor):
                self.recording.initial[id(tensor)] = tensor.detach().clone()

    @guarded
    def step_ended(self, optimizer: Optimizer, *, closure: bool = False) -> None:
        """An optimizer has stepped."""
        self._in_closure = False
        seen = self._optimizers[id(optimizer)]
        place = self.frames.here()
        recording = self.recording
        last = recording.backwards[-1] if recording.backwards else None
        since = [b for b in seen.pending if not self._belongs_to_other(b, seen)]
        lost = [(b, p) for b, p in seen.dropped if b in since]
        first = seen.pending[0] if seen.pending else len(recording.backwards)
        step = StepSeen(
            optimizer=seen.index, place=place, backwards=since, kept=list(seen.held), stale=sum(b < first for b in seen.held),
            discarded=len(lost), discarded_place=next((p for _, p in lost if p), None),
            lr=tuple(float(g.get("lr", math.nan)) for g in optimizer.param_groups),
            without_gradient=not closure and not any(p.grad is not None for p in seen.parameters),
            norm=last.norm if last else None, clip=seen.clip, clip_late=seen.clip_late, iteration=self.current,
            scaler=self.in_scaler, scaled=self._scale != 1.0, closure=closure,
        )  # fmt: skip
        if seen.before is not None:
            for parameter, before in zip(seen.parameters, seen.before, strict=False):
                step.weight_norms[id(parameter)] = norm(before)
                step.update_norms[id(parameter)] = norm(parameter.detach() - before)
            seen.before = None
        step.happening = self.note(
            "step", f"optimizer {seen.index} ({type(optimizer).__name__})", place, lr=step.lr[0] if step.lr else math.nan
        )
        seen.steps.append(step)
        seen.pending.clear()
        seen.dropped.clear()
        seen.clip = seen.clip_late = None
        if self.current is not None:
            self.current.steps += 1
        self._step_ended = time.monotonic()
        if not recording.loaders_of("train"):
            self._recent, self._pending_inputs = [], []
            self._start_tape()
        else:
            self.writer.active = self.writer.active if closure else self._was_writing
        self.on_progress(f"step {self.steps_done}")
        self._finish_if_done(None)

    def _belongs_to_other(self, backward: int, seen: OptimizerSeen) -> bool:
        """Whether another optimizer has stepped on this backward() already: an alternating scheme such as a GAN's."""
        reached = self.recording.backwards[backward].reached
        for other in self.recording.optimizers:
            stepped = other is not seen and other.steps and other.steps[-1].happening > self.recording.backwards[backward].happening
            if stepped and any(id(p) in reached for p in other.parameters):
                return True
        return False

    @guarded
    def scheduler_built(self, scheduler: Any) -> None:
        """A learning-rate scheduler was constructed."""
        if id(scheduler) not in self._schedulers:
            plain = {k: v for k, v in vars(scheduler).items() if isinstance(v, int | float | str | list | tuple | bool)}
            seen = SchedulerSeen(scheduler, len(self.recording.schedulers), self.frames.here(), initial=plain)
            self._schedulers[id(scheduler)] = seen
            self.recording.schedulers.append(seen)

    @guarded
    def scheduler_stepped(self, scheduler: Any, metric: float | None) -> None:
        """scheduler.step() returned."""
        self.scheduler_built(scheduler)
        seen = self._schedulers[id(scheduler)]
        place = self.frames.here()
        epochs = sum(1 for entry in self.recording.loaders_of("train") for i in entry.iterations if i.phase == "train")
        seen.calls.append((self.steps_done, epochs, place, metric))
        optimizer = getattr(scheduler, "optimizer", None)
        lr = float(optimizer.param_groups[0]["lr"]) if optimizer is not None else math.nan
        self.note("schedule", type(scheduler).__name__, place, lr=lr)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish_if_done(self, iteration: Iteration | None) -> None:
        if not self.on:
            return
        self._check_time()
        steps = self.steps_done
        loaders = self.recording.loaders_of("train")
        if not loaders:
            if steps >= 2 * self.settings.steps:
                self._finish()
            return
        epochs = sum(1 for entry in loaders for i in entry.iterations if i.phase == "train")
        if iteration is None:
            if steps >= 8 * self.settings.steps and epochs >= 2:
                self._finish()
        elif (iteration.phase == "train" and _comes_again(iteration) and iteration.batches >= 2 and steps) or (
            epochs >= 2 and steps >= 2 * self.settings.steps
        ):
            self._finish()

    def _check_time(self) -> None:
        if not self._running:
            self._running, self.begun = True, time.monotonic()
        spent = time.monotonic() - self.begun
        if (spent > 0.35 * self.settings.budget and self.steps_done >= 2) or spent > 0.8 * self.settings.budget:
            if not self.recording.notes:
                self.recording.notes.append(
                    f"recording was ended after {spent:.0f} s of the budget with {self.steps_done} optimizer steps seen"
                )
            self._finish()

    def finish(self) -> None:
        """Hand the recording over, once."""
        if self.finished:
            return
        self.finished, self.enabled = True, False
        self.writer.stop()
        self.recording.kept = list(self.marks.kept.values())
        self.recording.seconds = time.monotonic() - self.begun
        for seen in self.recording.schedulers:
            seen.sometimes = called_sometimes(self.frames, seen.scheduler, "step")
        if self.on_finish is not None:
            self.on_finish(self.recording)

    def _finish(self) -> None:
        if self.on_finish is None:
            return
        self.goes_on = self.trainings < self.most_trainings and bool(self.recording.training) and another_training_follows(self.frames)
        self.finish()
        if not self.goes_on:
            raise StopRecording
        self._rest()

    def _rest(self) -> None:
        """Let the script train on until it builds the optimizer of its next training, which is recorded afresh."""
        earlier = self.recording
        self.recording = Recording(self.frames, earlier.provenance, places=earlier.places, loaded=earlier.loaded, modes=earlier.modes)
        self.recording.trained_before = {id(p) for o in earlier.training for p in o.parameters}
        self._trained = [o.optimizer for o in earlier.training]  # kept alive, so that no other tensor gets their ids
        for module in (m for model in earlier.models() for m in model.modules()):
            if any(id(p) in self.recording.trained_before for p in module.parameters(recurse=False)):
                self.recording.loaded[id(module)] = "an earlier training of the script"
        self.keeper = TapeKeeper(self.recording, self.writer)
        for seen in earlier.loaders:
            self._loaders[seen.loader] = entry = Loader(seen.loader, seen.index, seen.place)
            self.recording.loaders.append(entry)
        self._optimizers, self._schedulers = {}, {}
        self._used_places = {o.place for o in earlier.optimizers if o.place is not None}
        self._current, self._recent, self._handed, self._pending_inputs = [], [], [], []
        self._last_batch, self._step_ended = None, None
        self.marks, self.writer.shadows = Marks(self.frames), ShadowWatch()
        self._rest_begun = time.monotonic()
        self._rest_batches: dict[int, int] = {}
        self.enabled = self.resting = True

    @property
    def cut_validation(self) -> bool:
        """Whether a validation pass was cut short after training steps."""
        passes = (i for entry in self.recording.loaders for i in entry.iterations)
        return self.steps_done > 0 and any(i.cut_short and i.phase == "val" for i in passes)

    def rests(self, iterator: object = None) -> bool:
        """While resting: whether a pass over a loader may go on. Ends the script when the next training is too long in coming."""
        spent = time.monotonic() - self._rest_begun
        if spent > min(_REST, self.settings.budget / 4):
            raise StopRecording
        self._rest_batches[id(iterator)] = batches = self._rest_batches.get(id(iterator), 0) + 1
        return spent < _REST_UNCUT or batches <= self.settings.train_batches

    def wake(self) -> None:
        """The next training begins."""
        self.resting, self.finished, self.goes_on = False, False, False
        self.trainings += 1
        self.on_progress("the script's next training")


def _comes_again(iteration: Iteration) -> bool:
    """Whether its loader has been trained on in an earlier pass; a look at one batch before the loop is none."""
    return any(i.phase == "train" for i in iteration.loader.iterations[: iteration.number])


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a layer of its own does something else in training mode than in eval mode."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.track_running_stats
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return (
        type(module).__name__ in ("DropPath", "StochasticDepth")
        and (getattr(module, "drop_prob", None) or getattr(module, "p", 0) or 0) > 0
    )


def _owner_parameters(layer: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """The layer's own parameters, or for a layer without any those of the module that holds it."""
    own = list(layer.parameters())
    if own:
        return own
    for module in model.modules():
        if any(child is layer for child in module.children()):
            return list(module.parameters())
    return []


def _plain(output: Any) -> Any:
    """Model outputs that are objects (HF) as something that tensors can be found in."""
    return dict(output) if hasattr(output, "keys") and not isinstance(output, dict) else output


def has_gradient(parameter: Tensor) -> bool:
    """Whether a non-zero gradient is stored."""
    gradient = parameter.grad
    if gradient is None:
        return False
    return bool(gradient.detach().coalesce().values().any() if gradient.is_sparse else gradient.detach().any())


def norm(tensor: Tensor) -> float:
    """2-norm as a float; sparse tensors by their values."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return float(tensor.float().norm()) if tensor.numel() else 0.0


def reached_leaves(loss: Tensor) -> tuple[frozenset[int], int]:
    """Ids of the leaf tensors that a backward from ``loss`` gives gradients, read off the graph, and the number of its nodes."""
    found: set[int] = set()
    seen: set[Any] = set()
    queue = [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        queue.extend(parent for parent, _ in node.next_functions)
    return frozenset(found), len(seen)
