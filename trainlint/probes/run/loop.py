"""The loop as the recorder's books have it: events, steps, validation passes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
from torch import nn

from trainlint.location import Location
from trainlint.measurements import Event, Loop, Step
from trainlint.probes.run.eval_dropout import dropout_to_come
from trainlint.probes.run.validation import validation_passes
from trainlint.probes.source.statements import condition_around, step_returns_at
from trainlint.probes.step.loss import is_mean_reduced
from trainlint.record.frames import Place
from trainlint.record.modes import depends_on_mode
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.seen import Call, Happening, StepSeen
from trainlint.settings import Settings

__all__ = ["measure_loop"]

_DIVISIONS = frozenset({"div", "divide", "truediv", "itruediv", "true_divide"})


def measure_loop(recording: Recording, deadline: float, settings: Settings) -> Loop:
    """Digest the event log."""
    at = recording.frames.location
    trained = [c for c in recording.calls if c.trained]
    off = [c for c in trained if c.modules_off]
    whole = [c for c in trained if not c.training]
    late = (off or whole)[:1]
    steps = recording.steps
    models = recording.models()
    validation = tuple(validation_passes(recording))
    accumulation = Counter(len(s.backwards) for s in steps if s.backwards).most_common(1)
    return Loop(
        events=() if recording.own_loop else tuple(_event(recording, h, i) for i, h in enumerate(recording.happenings[:2000])),
        steps=tuple(_step(recording, s) for s in steps),
        epochs_begun=sum(1 for entry in recording.loaders_of("train") for i in entry.iterations if i.phase == "train"),
        has_loader=bool(recording.loaders_of("train")),
        has_validation=bool(recording.loaders_of("val")),
        optimizers=len(recording.optimizers),
        stepped_optimizers=recording.turns,
        validation=validation,
        dropout_where=None if validation or recording.own_loop else at(dropout_to_come(recording)),
        train_forwards=len(trained),
        eval_mode_forwards=len(whole),
        eval_mode_where=at(late[0].place) if late else None,
        eval_set_where=at(late[0].mode_place) if late else None,
        eval_mode_epoch=_epoch(recording, late[0]) if late else None,
        eval_mode_modules=tuple(dict.fromkeys(name for c in off for name in c.modules_off)),
        mode_dependent=tuple(dict.fromkeys(type(m).__name__ for model in models for m in model.modules() if depends_on_mode(m))),
        frozen_eval=bool(off) and all(c.off_are_frozen for c in off),
        gradient_scaler=any(s.scaler or s.scaled for s in steps),
        accumulation=accumulation[0][0] if accumulation else 1,
        step_before_backward=_steps_before_backward(recording),
        clear_between_backward_and_step=bool(steps) and sum(bool(s.discarded and not s.kept) for s in steps) > len(steps) / 2,
        clear_where=next((at(s.discarded_place) for s in steps if s.discarded_place), None),
        loss_divided_by=_divided_by(recording),
        loss_where=_handed_over(recording),
        divided_where=_own_division(recording, accumulation[0][0] if accumulation else 1),
        held_where=_held_back(recording),
        manual_updates=bool(recording.backwards) and not steps and _changed(recording, models),
        closure=any(s.closure for s in steps),
        step_returns_where=at(_step_returns(recording)),
        ours=recording.own_loop,
    )


def _step_returns(recording: Recording) -> Place | None:
    """Where Lightning's training step of the user's returns, when steps are taken by its closure and none goes backward."""
    if recording.backwards or not any(s.closure for s in recording.steps):
        return None
    seen = [h.place for h in recording.happenings if h.place is not None] + [c.place for c in recording.calls if c.place is not None]
    return step_returns_at((place[0] for place in seen), "training_step")


def _event(recording: Recording, happening: Happening, index: int) -> Event:
    info = {k: v if isinstance(v, bool | str) else float(v) for k, v in happening.info.items() if isinstance(v, bool | int | float | str)}
    phase = happening.iteration.phase if happening.iteration is not None else ""
    return Event(
        kind=happening.kind,
        index=index,
        phase=phase,
        where=recording.frames.location(happening.place),
        subject=happening.subject,
        info=info,
    )


def _step(recording: Recording, step: StepSeen) -> Step:
    backwards = [recording.backwards[b] for b in step.backwards]
    at = recording.frames.location
    last = backwards[-1] if backwards else (recording.backwards[step.kept[-1]] if step.kept else None)
    return Step(
        optimizer=step.optimizer,
        where=at(step.place),
        backwards=len(step.backwards),
        kept=len(step.kept),
        stale=step.stale,
        discarded=step.discarded,
        discarded_where=at(step.discarded_place),
        without_gradient=step.without_gradient,
        backward_where=at(last.place) if last else None,
        backward_values=tuple(b.value for b in backwards),
        loss_values=tuple(v for b in backwards if (v := _call_value(b.tape)) is not None),
        clipped=step.clip[0] if step.clip else None,
        clip_max_norm=step.clip[1] if step.clip else None,
        clip_where=at(step.clip[2]) if step.clip else None,
        clip_after_step=step.clip_late is not None,
        clipped_scaled=bool(step.clip and step.clip[3]),
        lr=step.lr,
        gradient_norm=step.norm,
        skipped=step.skipped,
        scaler=step.scaler,
    )


def _call_value(tape: Any) -> float | None:
    if tape is None or len(tape.observed) != 1:
        return None
    position, (args, kwargs) = next(iter(tape.observed.items()))
    try:
        with torch.no_grad():
            return float(tape.operations[position].call(*args, **kwargs).double().mean())
    except (RuntimeError, TypeError, ValueError):
        return None


def _divided_by(recording: Recording) -> float | None:
    """What accumulated mean losses were divided by on their way to backward(); None for other losses."""
    groups = [s for s in recording.steps if len(s.backwards) > 1]
    if not groups:
        return None
    backward = recording.backwards[groups[0].backwards[0]]
    value = _call_value(backward.tape)
    if backward.tape is None or value is None or not is_mean_reduced(backward.tape, later=True):
        return None
    if len({recording.backwards[b].place for b in groups[0].backwards}) > 1:
        return None  # several losses for one step, not one loss over several batches
    divisor = value / backward.value if backward.value else math.nan
    return divisor if math.isfinite(divisor) else None


def _handed_over(recording: Recording) -> Location | None:
    """The line that made the first loss, where the user's nearest line to its backward() does not call it: a trainer does."""
    backward = next((b for b in recording.backwards if b.tape is not None), None)
    if backward is None or backward.tape is None:
        return None
    called = recording.frames.location(backward.place)
    if called is None or "backward" in called.text:
        return None
    scalars = (op for op in reversed(backward.tape.operations) if op.outputs and backward.tape.shapes[op.outputs[0]] == ())
    return next((made for op in scalars if (made := recording.frames.location(op.place)) is not None and made != called), None)


def _own_division(recording: Recording, parts: int) -> Location | None:
    """The last line but that of backward() at which a number is divided by ``parts`` on its way there."""
    backward = next((b for b in recording.backwards if b.tape is not None), None)
    if backward is None or backward.tape is None or parts < 2:
        return None
    called, shapes = recording.frames.location(backward.place), backward.tape.shapes
    scalars = (op for op in reversed(backward.tape.operations) if op.outputs and shapes[op.outputs[0]] == ())
    divided = (op for op in scalars if op.name.strip("_") in _DIVISIONS and op.argument(1, "other") == parts)
    return next((made for op in divided if (made := recording.frames.location(op.place)) is not None and made != called), None)


def _held_back(recording: Recording) -> Location | None:
    place = next((h.place for h in reversed(recording.happenings) if h.kind == "step-held" and h.place is not None), None)
    return recording.frames.location(condition_around(place) or place) if place is not None else None


def _epoch(recording: Recording, call: Call) -> int | None:
    return call.iteration.number + 1 if call.iteration is not None else None


def _steps_before_backward(recording: Recording) -> bool:
    """step() comes first in each iteration: the very first one finds no gradients, the others those of the batch before."""
    steps = [s for s in recording.steps if not s.closure]
    if len(steps) < 2 or not steps[0].without_gradient or recording.turns > 1:
        return False
    return recording.backwards != [] and recording.backwards[0].happening > steps[0].happening


def _changed(recording: Recording, models: list[nn.Module]) -> bool:
    """Whether parameters have other values than when an optimizer was built on them, although none stepped."""
    known = [(p, recording.initial[id(p)]) for m in models for p in parameters_of(m) if p.requires_grad and id(p) in recording.initial]
    return any(not torch.equal(p.detach(), before) for p, before in known)
