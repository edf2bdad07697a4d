"""Told of optimizers and schedulers: how they are built, and their steps."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

from torch.optim import Optimizer

from trainlint.record.arguments import arguments_place, warmup_told
from trainlint.record.frames import Place
from trainlint.record.gradients import norm
from trainlint.record.listeners.books import BARE, MEASURED_STEPS, guarded
from trainlint.record.listeners.gradients import GradientListener
from trainlint.record.parameters import SHORT
from trainlint.record.planned import range_turns
from trainlint.record.seen import OptimizerSeen, SchedulerSeen, StepSeen
from trainlint.record.shadows import ShadowWatch

__all__ = ["OptimizerListener"]


class OptimizerListener(GradientListener):
    """What each step was made of, and what it did to the weights."""

    @guarded
    def optimizer_built(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed."""
        if self.resting:
            self.wake()
        if id(optimizer) in self._optimizers:
            return
        base = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        # A line that built the optimizer of an earlier training too says nothing about this one: who called it does.
        place = arguments_place(self.frames) or self.frames.here(beyond=self._used_places) or self.frames.here()
        seen = OptimizerSeen(optimizer, len(self.recording.optimizers), place, base, built=len(self.recording.happenings))
        self._optimizers[id(optimizer)] = seen
        self.recording.optimizers.append(seen)

    @guarded
    def optimizer_loaded(self, optimizer: Optimizer) -> None:
        """An optimizer's state was loaded, and its groups' settings with it."""
        seen = self._optimizers.get(id(optimizer))
        if seen is not None and not seen.steps:
            seen.loaded_at = self.frames.here()
            seen.loaded_lr = tuple(float(g.get("lr", math.nan)) for g in optimizer.param_groups)

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
        if self._step_ended is not None and done in BARE:
            self.recording.step_seconds.append(now - self._step_ended)
        if not seen.settings:
            seen.settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
            seen.resumed = any(optimizer.state.values())
            self._keep_initial(seen.parameters)
        self._watch_copies(done)
        if done < MEASURED_STEPS and done not in BARE:
            seen.before = [p.detach().clone() for p in seen.parameters]

    def _watch_copies(self, steps: int) -> None:
        try:
            self.writer.shadows.before_step(self.recording.models, steps, self._evaluated())
        except Exception as error:  # any object of the program may be met; one that cannot be looked at ends the watch only
            self.recording.notes.append(f"copies of the weights were not watched ({type(error).__name__}: {error})")
            self.writer.shadows = ShadowWatch()
            self.writer.shadows.closed = True
        self.recording.shadows = self.writer.shadows.shadows

    def _evaluated(self) -> Place | None:
        """Where a model was first called without gradients since the latest step."""
        last = max((o.steps[-1].happening for o in self.recording.training), default=0)
        since = itertools.takewhile(lambda call: call.happening > last, reversed(self.recording.calls))
        return next(iter([call.place for call in since if not call.grad][::-1]), None)

    @guarded
    def step_ended(self, optimizer: Optimizer, *, closure: bool = False) -> None:
        """An optimizer has stepped."""
        self._in_closure = False
        seen = self._optimizers[id(optimizer)]
        if self._previews(seen, closure=closure):
            seen.steps.clear()
            seen.before = None
            self.writer.active = self._was_writing
            return
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
            torchs = type(optimizer).__module__.startswith("torch.optim")  # others may keep what rounding takes away
            for parameter, before in zip(seen.parameters, seen.before, strict=False):
                step.weight_norms[id(parameter)] = norm(before)
                step.update_norms[id(parameter)] = norm(parameter.detach() - before)
                if torchs and parameter.dtype in SHORT and parameter.grad is not None and not parameter.grad.is_sparse:
                    driven = parameter.grad != 0
                    step.unmoved[id(parameter)] = float((driven & (parameter.detach() == before)).sum() / driven.sum().clamp(min=1))
            seen.before = None
        self.writer.shadows.after_step()
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

    def _previews(self, seen: OptimizerSeen, *, closure: bool) -> bool:
        """Whether it steps to have a schedule go on, of which the rates are looked at: no gradient was there yet, and no model ran."""
        if closure or seen.held or seen.pending or any(p.grad is not None for p in seen.parameters):
            return False
        if not all(step.without_gradient for step in seen.steps):
            return False
        latest = self.recording.calls[-1].happening if self.recording.calls else -1
        return latest < (seen.steps[-1].happening if seen.steps else seen.built)

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
            seen = SchedulerSeen(
                scheduler, len(self.recording.schedulers), self.frames.here(), initial=plain, built_in=range_turns(self.frames),
                warmup=warmup_told(self.frames), told_at=arguments_place(self.frames, "lr_scheduler_type"),
            )  # fmt: skip
            self._schedulers[id(scheduler)] = seen
            self.recording.schedulers.append(seen)

    @guarded
    def scheduler_stepped(self, scheduler: Any, metric: float | None, count: float | None = None) -> None:
        """scheduler.step() returned; ``count``: how far the run is, of a scheduler that is told."""
        self.scheduler_built(scheduler)
        seen = self._schedulers[id(scheduler)]
        place = self.frames.here()
        seen.turns.append(range_turns(self.frames))
        if count is not None:
            seen.counts.append(count)
        epochs = sum(1 for entry in self.recording.loaders_of("train") for i in entry.iterations if i.phase == "train")
        seen.calls.append((self.steps_done, epochs, place, metric))
        optimizer = getattr(scheduler, "optimizer", None)
        lr = float(optimizer.param_groups[0]["lr"]) if optimizer is not None else math.nan
        self.note("schedule", type(scheduler).__name__, place, lr=lr)

    @guarded
    def scheduler_configured(self, scheduler: Any, place: Place | None, *, seldom: bool) -> None:
        """A trainer steps a scheduler, by the user's method at ``place`` where there is one; ``seldom``: not at every turn."""
        seen = self._schedulers.get(id(scheduler))
        if seen is not None:
            seen.stepper, seen.sometimes = place, seen.sometimes or seldom

    @guarded
    def scheduler_idle(self, scheduler: Any) -> None:
        """A scheduler was told a count in the unit that it does not go by."""
        self.scheduler_built(scheduler)
        self._schedulers[id(scheduler)].idle.append(self.frames.here())
