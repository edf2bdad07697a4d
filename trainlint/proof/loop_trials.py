"""Trials of fixes to the training loop: clearing, clipping, modes, schedules and the order of samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import Loop, Optimizers, SampleOrder, SchedulerInfo
from trainlint.probes.data.datasets import Samples
from trainlint.probes.step.replay import Rehearsal, usable
from trainlint.proof.changes import evaluated, trained
from trainlint.proof.runs import Bench, Condition, Fill, compared, not_tried
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape

__all__ = ["amp", "grad_clip", "gradient_accumulation", "loop_order", "schedule_cadence", "shuffle", "train_mode"]

#: Batches of the small epoch in which orders are compared, passes over it, and batches that judge.
_BATCHES, _JUDGING = 20, 4
#: Factor of a gradient scaler that was not seen at work; torch's own start.
_SCALE = 65536.0
#: Epochs of a run whose length is not known, for schedules that count epochs.
_EPOCHS = 30


def gradient_accumulation(bench: Bench) -> Proof:
    """With gradients cleared, or divided by the batches they are summed over, once."""
    kept, once = (bench.finding.evidence.get(name) for name in ("measured", "expected"))
    with bench.rehearsal() as trial:
        if "steps" in bench.finding.evidence:
            return compared(
                bench, trial, before=Condition(clear=False), after=Condition(), words="With gradients cleared before each backward()"
            )
        if isinstance(once, int | float) and once > 1:  # what is played again holds both divisions, and is averaged where the loop sums
            return compared(
                bench,
                trial,
                before=Condition(gathered=int(once), used=int(once), loss_scale=float(once)),
                after=Condition(gathered=int(once), used=int(once), loss_scale=float(once) ** 2),
                words=f"With the loss divided by the {once:g} batches of a step once",
            )
        count = int(kept) if isinstance(kept, (int, float)) and kept >= 2 else 2
        return compared(
            bench,
            trial,
            before=Condition(gathered=count, used=count, loss_scale=float(count)),
            after=Condition(gathered=count, used=count),
            words=f"With the loss divided by the {count} batches of a step",
        )


def loop_order(bench: Bench) -> Proof:
    """With the gradients of all batches of a step, or steps that have gradients at all."""
    evidence = bench.finding.evidence
    discarded, calls = evidence.get("measured"), evidence.get("backward calls a step")
    with bench.rehearsal() as trial:
        if isinstance(calls, (int, float)) and isinstance(discarded, (int, float)):
            count = max(2, int(calls))
            return compared(
                bench,
                trial,
                before=Condition(gathered=count, used=max(1, count - int(discarded))),
                after=Condition(gathered=count, used=count),
                words=f"With the gradients of all {count} batches of a step",
            )
        steps, measured = evidence.get("steps"), evidence.get("measured")
        if measured == 0 or (steps and measured == steps):
            return compared(
                bench, trial, before=Condition(rate=lambda _: 0.0), after=Condition(), words="With each step taken after its backward()"
            )
    return not_tried("how far the steps are off cannot be repeated in a replay")


def amp(bench: Bench) -> Proof:
    """With gradients unscaled before they are clipped."""
    if "lr" in bench.finding.evidence:
        return not_tried("a replay keeps the weights in the format that they have")
    loop = bench.measure(Loop)
    clipped = [s for s in loop.steps if s.clipped_scaled and s.clip_max_norm] if isinstance(loop, Loop) else []
    with bench.rehearsal() as trial:
        scale = trial.tape.scale if trial.tape.scale != 1.0 else _SCALE
        if clipped:
            limit = float(clipped[-1].clip_max_norm or 1.0)
            return compared(
                bench,
                trial,
                before=Condition(gradient_scale=scale, max_norm=limit),
                after=Condition(max_norm=limit),
                words="With unscale_() before the clipping",
            )
        return compared(
            bench, trial, before=Condition(loss_scale=scale), after=Condition(), words="With steps taken through the gradient scaler"
        )


def grad_clip(bench: Bench) -> Proof:
    """With a threshold a little above the usual norm, or clipped at all."""
    evidence = bench.finding.evidence
    if evidence.get("by_norm") and isinstance(wanted := evidence.get("threshold"), int | float):
        with bench.rehearsal() as trial:
            return compared(
                bench, trial, before=Condition(), after=Condition(max_norm=float(wanted)), words=f"With gradients clipped to {wanted:g}"
            )
    limit, norm = evidence.get("max_norm"), evidence.get("norm")
    if not isinstance(limit, (int, float)) or not isinstance(norm, (int, float)):
        return not_tried("the norm that is clipped is not known")
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(max_norm=float(limit)),
            after=Condition(max_norm=1.5 * float(norm)),
            words=f"With gradients clipped to {1.5 * norm:.2g}",
        )


def train_mode(bench: Bench) -> Proof:
    """With batch norm and dropout in training mode, judged in evaluation mode as validation is."""
    with bench.rehearsal() as trial:
        if not any(op.name == "batch_norm" for op in trial.tape.operations):
            return not_tried("without batch norm the difference lies in regularisation, which a few steps cannot show")
        return compared(
            bench,
            trial,
            before=Condition(judged=evaluated, change=evaluated),
            after=Condition(change=trained, judged=evaluated),
            words="With the model in training mode",
            measure="loss in evaluation mode",
        )


def schedule_cadence(bench: Bench) -> Proof:
    """With the schedule run through as it was built for, in a run shortened to a few steps."""
    edit = bench.finding.fix.edit if bench.finding.fix is not None else None
    if edit is not None and edit.kind == "rebuild-schedule":
        return not_tried("the schedule belongs to an optimizer that takes no step")
    seen = bench.measure(Optimizers)
    scheduler = _scheduler(bench, seen) if isinstance(seen, Optimizers) else None
    if scheduler is None or not isinstance(seen, Optimizers):
        return not_tried("the schedule at fault could not be told from others")
    rates = _plateau(scheduler, seen) if scheduler.kind == "ReduceLROnPlateau" else _course(scheduler, seen)
    if rates is None:
        return not_tried("how the learning rate would go over a whole run is not known")
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(rate=rates[0]),
            after=Condition(rate=rates[1]),
            words="With the schedule as it was meant, over a run shortened to these steps",
        )


def _scheduler(bench: Bench, seen: Optimizers) -> SchedulerInfo | None:
    places = [s for s in seen.schedulers if bench.finding.location in (s.where, s.stepped_where)]
    return next(iter(places or (seen.schedulers if len(seen.schedulers) == 1 else ())), None)


def _course(scheduler: SchedulerInfo, seen: Optimizers) -> tuple[Callable[[float], float], Callable[[float], float]] | None:
    """Factor on the learning rate over a run: as it is stepped now, and as it was built."""
    preview = scheduler.preview
    if len(preview) < 2 or max(preview) <= 0:
        return None
    built = scheduler.horizon or scheduler.preview_calls or len(preview)
    epochs, steps = seen.epochs or scheduler.rounds or _EPOCHS, seen.steps_per_epoch or max(1, scheduler.calls_in_round)
    made = 0 if not scheduler.calls else epochs if scheduler.cadence == "epoch" else epochs * steps
    share = made / built  # of the schedule that a whole run goes through

    def at(progress: float) -> float:
        position = progress * (len(preview) - 1)
        if position > len(preview) - 1:  # a cosine climbs again, all others stay where they ended
            turn = 2 * (len(preview) - 1)
            position = position % turn if scheduler.swings or scheduler.kind == "CosineAnnealingLR" else len(preview) - 1
            position = turn - position if position > len(preview) - 1 else position
        return preview[int(position)] / max(preview)

    return (lambda progress: at(progress * share)), at


def _plateau(scheduler: SchedulerInfo, seen: Optimizers) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """A rate that falls while the metric improves, and one that stays."""
    factor, patience = (_number(scheduler.options.get(name), usual) for name, usual in (("factor", 0.1), ("patience", 10.0)))
    epochs = seen.epochs or _EPOCHS
    return (lambda progress: factor ** math.floor(progress * epochs / (patience + 1))), (lambda progress: 1.0)


def _number(value: object, usual: float) -> float:
    return float(value) if isinstance(value, (int, float)) else usual


def shuffle(bench: Bench) -> Proof:
    """The same samples in the script's order and in a random one, judged on a random draw of others."""
    if "label_runs" not in bench.finding.evidence:
        return not_tried("its fix changes which samples are drawn, which a replayed training step does not touch")
    order = bench.measure(SampleOrder)
    if not isinstance(order, SampleOrder) or len(order.first_epoch) < 2 or len(order.labels) < 2 or order.iterable:
        return not_tried("the order of samples is not known well enough to repeat it")
    if order.label_runs and order.runs_z > -3:
        return not_tried("labels are mixed as it is; what a new order in each epoch adds shows only after many epochs")
    with bench.rehearsal() as trial:
        fills = _small_epoch(bench, trial, order)
        if fills is None:
            return not_tried("samples could not be read into batches of the recorded shape")
        ordered, mixed, judging = fills
        return compared(
            bench,
            trial,
            before=Condition(order=ordered),
            after=Condition(order=mixed),
            words="With the same samples in random order",
            measure="loss on randomly drawn samples",
            judged_on=judging,
        )


def _small_epoch(bench: Bench, trial: Rehearsal, order: SampleOrder) -> tuple[list[Fill], list[Fill], list[Fill]] | None:
    """A thinned epoch in its own order, the same samples mixed, and batches drawn at random."""
    entry = next(
        (e for e in bench.recording.loaders_of("train") if not isinstance(e.loader.dataset, torch.utils.data.IterableDataset)), None
    )
    size = order.batch_size or 0
    if entry is None or size < 1 or entry.loader.batch_sampler is None:
        return None
    samples = Samples(entry.loader)
    indices = order.first_epoch if order.size is None or order.size <= len(order.first_epoch) else tuple(range(order.size))
    count = min(_BATCHES, len(indices) // size)
    if count < 4:
        return None
    thinned = [indices[int(i * len(indices) / (count * size))] for i in range(count * size)]
    generator = torch.Generator().manual_seed(0)
    mixed = [thinned[i] for i in torch.randperm(len(thinned), generator=generator).tolist()]
    drawn = [indices[i] for i in torch.randint(len(indices), (_JUDGING * size,), generator=generator).tolist()]
    end = time.monotonic() + 0.4 * max(bench.deadline - time.monotonic(), 0.0)
    raw: dict[int, object] = {}
    for index in (*thinned, *drawn):
        if index not in raw:
            raw[index] = samples.raw(index)
        if time.monotonic() > end:
            return None

    def batches(chosen: Sequence[int]) -> list[Fill]:
        leaves = [dict(tensor_leaves(entry.loader.collate_fn([raw[i] for i in chosen[k : k + size]]))) for k in range(0, len(chosen), size)]
        return list(usable(trial.tape, [{p: _filled_up(t, trial.tape, p) for p, t in found.items()} for found in leaves]))

    made = batches(thinned), batches(mixed), batches(drawn)
    return made if min(len(made[0]), len(made[1])) > count / 2 and made[2] else None


def _filled_up(tensor: Tensor, tape: Tape, path: str) -> Tensor:
    """Padded sequences as long as the recorded ones; all else as it is."""
    wanted = tape.outside[tape.batch[path]].shape if path in tape.batch else tensor.shape
    if tensor.dim() < 2 or tensor.dim() != len(wanted) or tensor.shape[1] >= wanted[1] or tensor.is_floating_point():
        return tensor
    longer = tensor.new_zeros((tensor.shape[0], wanted[1], *tensor.shape[2:]))
    longer[:, : tensor.shape[1]] = tensor
    return longer
