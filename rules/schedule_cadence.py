"""Checks that a schedule is stepped as often as it was built for, and in the right direction.

## What it checks

How often `scheduler.step()` comes (after each optimizer step, once an epoch, never), against the length the scheduler was built for and
the length of the run, where both are known.

- **Built for steps, stepped once an epoch**: an **error** when the learning rate then never reaches half of its peak (OneCycleLR stays
  in its warm-up), else a **warning**.
- **Built for epochs, stepped after each batch**: an **error** when the learning rate is below a hundredth of its start before the first
  epoch is over, else a **warning** (a cosine swings up and down every few batches). A **note** when the loop is not seen to go over
  epochs: counting steps, it may draw batches from an endless loader. Without a loader, a **warning** when it is as long as the
  `range` loop around it has turns, and is stepped several times in one turn.
- **timm's schedulers**, which are told epochs (`step`) or updates (`step_update`) and go by one of the two: the same, by the counts
  that they are told; an **error** or **warning** as for a schedule that is never stepped when they are told of the other unit only.
- **Never stepped** although an epoch went by, by the loop or by the method that a trainer calls for it (`lr_scheduler_step`): an **error** when it was to warm up from a fifth of its peak or less, else a **warning**.
- **Error**: a schedule whose optimizer was replaced and takes no step, so that the rate that trains never changes.
- **Warm-up longer than the run** (LambdaLR, LinearLR): an **error** when the learning rate does not reach a tenth of its peak in three
  epochs or more, a **warning** when it does not reach half of it.
- **A decay by hand** at each step, by a constant factor: an **error** when less than 0.001, a **warning** when less than 0.01 of the
  learning rate is left after one epoch, or after a quarter of the run where that is longer.
- **Warning**: a cosine that climbs back up because the run is longer than its `T_max`; a schedule built for batches that accumulation
  steps more rarely; ReduceLROnPlateau with `mode` against the direction of its metric.

Schedules of ignite (`PiecewiseLinear`, `LinearCyclicalScheduler`, `CosineAnnealingScheduler`, `LRScheduler`, `create_lr_scheduler_with_warmup`) count
the events that they are attached to: iterations or epochs.

Restarting and cyclic schedules may be shorter than the run, rising ones (warm-ups) too. Schedulers inside others (SequentialLR) and
beside others on the same optimizer are not asked to be stepped themselves, nor are those that a trainer steps only now and then (Lightning's
`frequency`, and schedules that wait for a metric). A run cut short for a test (`--epochs 1`) passes.

## Why it matters

A schedule counts calls, not epochs. Stepped a hundred times too rarely it does nothing, a hundred times too often it has ended before
the model has seen the data once.

## Example

```python
scheduler = OneCycleLR(optimizer, max_lr=1e-2, epochs=EPOCHS, steps_per_epoch=len(loader))
for epoch in range(EPOCHS):
    train(model, loader, optimizer)
    scheduler.step()                        # EPOCHS calls; it was built for EPOCHS * len(loader)
```

## Fix

Step where the schedule's unit goes by, or give its length in the unit in which it is stepped.

```python
for x, y in loader:
    criterion(model(x), y).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
```

## Thresholds

- Three times too few or too many calls, together with a length that fits the other unit within a quarter: one that is a little short is
  a choice, one that is off by the number of batches is a mix-up.
- A hundredth of the starting learning rate: two of the usual tenfold decays, with the first epoch still running.
- A tenth of the peak at the end of a cosine: an annealed run ends below it.

## References

- Smith and Topin 2017, Super-Convergence (one cycle over all iterations): https://arxiv.org/abs/1708.07120
- PyTorch, OneCycleLR (to be called after every batch):
  https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html
- Loshchilov and Hutter 2017, SGDR: https://arxiv.org/abs/1608.03983
- PyTorch, ReduceLROnPlateau: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Loop, Optimizers, SchedulerInfo
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._counted_schedules import in_rounds, never_told
from trainlint_rules._schedule_fixes import each_epoch, each_step, start
from trainlint_rules._schedules import RunLength, by_trainer, drawn, goes_by_epochs, left_after_epoch, stepped_at

#: Calls too few or too many by this factor, and how closely the length has to fit the other unit.
FACTOR, FIT = 3.0, 1.25
#: Of its start, before the first epoch is over: the learning rate is gone.
GONE = 0.01
#: Of its peak: a start from below this is a warm-up; an end above it is not annealed.
WARMUP, ANNEALED = 0.2, 0.1
#: Of its peak: a schedule that does not get beyond this has not begun. Fewer epochs than this may be a trial of the script.
UNREACHED, FEW_EPOCHS = 0.1, 3
#: Steps that a decay by hand must be seen for.
DECAYED = 5
#: A length that is hardly meant in epochs.
MANY_EPOCHS = 1000
#: Schedules that start over by design.
PERIODIC = ("CosineAnnealingWarmRestarts", "CyclicLR")
#: Schedules of cycles that begin again, most often built for one cycle in a run.
CYCLES = ("LinearCyclicalScheduler", "CosineAnnealingScheduler")
#: How closely a cycle in epochs fits the epochs of the run.
CYCLE_FIT = 1.1
#: Schedules that are made to be stepped after every batch.
PER_STEP = ("OneCycleLR", "CyclicLR")


class ScheduleCadence(Rule):
    """A schedule stepped too often, too rarely, never, or in the wrong direction."""

    code = "TL402"
    name = "schedule-cadence"
    stage = Stage.LEARNING_RATE
    severity = Severity.ERROR
    summary = "Schedules are stepped as often as they were built for"
    why = "A schedule counts calls: too few and it does nothing, too many and it has ended before the data was seen once."
    source = "PyTorch, OneCycleLR: https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html"
    requires = (Optimizers, Loop)
    judges_loop = True
    blocked_by = ("loop-order",)

    def judge(self, optimizers: Optimizers, loop: Loop) -> Verdict:
        """Ask each schedule each question; the gravest answer is told."""
        schedulers = optimizers.schedulers
        by_epochs = goes_by_epochs(loop) or (optimizers.epochs is not None and by_trainer(loop))
        run = RunLength(loop, optimizers.epochs if by_epochs else None, optimizers.steps_per_epoch)
        if not schedulers:
            return _by_hand(optimizers, run) or not_run("no learning-rate scheduler is in use")
        stepped = {scheduler.optimizer for scheduler in schedulers if scheduler.calls}
        faults = [fault for scheduler in schedulers for fault in _faults(scheduler, run, beside=scheduler.optimizer in stepped)]
        if faults:
            return min(faults, key=lambda fault: fault.severity.rank if fault.severity else 0)
        known = [scheduler for scheduler in schedulers if scheduler.cadence in ("step", "epoch")]
        if not known:
            return not_run("it could not be seen how often the scheduler is stepped")
        first, unit = known[0], "after each optimizer step" if known[0].cadence == "step" else "once an epoch"
        return passed(
            f"{first.kind} is stepped {unit}" + (f" and built for {first.horizon:,} calls." if first.horizon else "."),
            evidence={"measured": first.cadence, "horizon": first.horizon, "epochs": run.epochs, "steps an epoch": run.steps},
            details=drawn(first, None),
        )


def _by_hand(optimizers: Optimizers, run: RunLength) -> Verdict | None:
    """Catch a learning rate that the script multiplies by a constant at each step, until nothing is left of it."""
    rates = [step.lr[0] for step in run.loop.steps if step.lr and step.optimizer == run.loop.steps[0].optimizer]
    if len(rates) < DECAYED or not run.steps or min(rates) <= 0:
        return None
    factors = [after / before for before, after in itertools.pairwise(rates)]
    if max(factors) >= 1 or max(factors) - min(factors) > 0.05 * (1 - max(factors)):
        return None
    calls = max(run.steps, (run.total or 0) // 4)
    left = statistics.fmean(factors) ** calls
    if left >= GONE:
        return None
    return failed(
        f"The learning rate is multiplied by {factors[0]:.3g} at each step: after {calls:,} steps, "
        f"{'a quarter of the run' if calls > run.steps else 'one epoch'}, {left:.0e} of it is left.",
        severity=Severity.ERROR if left < GONE / 10 else Severity.WARNING,
        evidence={"measured": left, "expected": 1.0, "threshold": GONE, "factor": factors[0], "steps an epoch": run.steps},
        location=optimizers.rate_where or run.loop.steps[0].where,
        fix=Fix(
            summary="Lower it once an epoch, or by a factor that fits the number of steps.",
            code="for epoch in range(epochs):\n    train(model, loader, optimizer)\n    scheduler.step()  # ExponentialLR(optimizer, gamma)",
        ),
    )


def _faults(scheduler: SchedulerInfo, run: RunLength, *, beside: bool) -> Iterator[Verdict]:
    """Yield what is wrong with one schedule. ``beside``: a schedule of the same optimizer was stepped."""
    yield from _plateau(scheduler)
    if scheduler.unit:
        yield from never_told(scheduler, run)
    if scheduler.orphaned:
        yield from _orphaned(scheduler)
    elif not scheduler.calls and not beside and not scheduler.sometimes and not scheduler.idle_where:
        yield from _never(scheduler, run)
    elif scheduler.cadence == "epoch":
        mixed_up = list(_too_rare(scheduler, run))
        yield from mixed_up or _unreached(scheduler, run, run.epochs)
        yield from _climbs(scheduler, None if scheduler.sometimes else run.epochs)
    elif scheduler.cadence == "step":
        mixed_up = list(_too_often(scheduler, run)) or list(in_rounds(scheduler, run))
        yield from mixed_up or _climbs(scheduler, run.total)
        yield from _unreached(scheduler, run, run.total)
        yield from _accumulated(scheduler, run)


def _plateau(scheduler: SchedulerInfo) -> Iterator[Verdict]:
    rises, mode = scheduler.metric_rises, scheduler.mode or "min"
    if scheduler.kind == "ReduceLROnPlateau" and rises is not None and rises != (mode == "max"):
        wanted = "max" if rises else "min"
        yield failed(
            f'ReduceLROnPlateau has mode="{mode}" but is given a metric that {"rises" if rises else "falls"} with success '
            f"({', '.join(f'{value:.3g}' for value in scheduler.metric[:3])}): it lowers the learning rate while the model improves.",
            severity=Severity.WARNING,
            evidence={"measured": mode, "expected": wanted, "metric": list(scheduler.metric[:10])},
            location=scheduler.where,
            fix=Fix(
                summary="Set mode to the direction of success.",
                code=f'scheduler = ReduceLROnPlateau(optimizer, mode="{wanted}")',
                edit=Edit(kind="plateau-mode", values={"mode": wanted}),
            ),
        )


def _orphaned(scheduler: SchedulerInfo) -> Iterator[Verdict]:
    """A schedule of an optimizer that was replaced; one that was replaced with it is never stepped."""
    if scheduler.calls:
        yield failed(
            f"{scheduler.kind} is stepped, but the optimizer that it was built for takes no step: another optimizer trains the same parameters, "
            "and its learning rate does not change.",
            severity=Severity.ERROR,
            evidence={"measured": 0, "expected": "steps of the optimizer that it was built for", "calls": scheduler.calls},
            location=scheduler.where,
            fix=Fix(summary="Build it for the last optimizer.", code=f"{scheduler.kind}(optimizer)", edit=Edit(kind="rebuild-schedule")),
        )


def _never(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    if not run.loop.has_loader or run.loop.epochs_begun < 2 or scheduler.kind == "SWALR":
        return
    preview, full = scheduler.preview, run.loop.epochs_begun - 1
    low = bool(preview) and preview[0] <= WARMUP * max(preview)
    stays = f" stays at {preview[0]:.2g}" if preview else " stays as it is"
    peak = f" and never reaches {max(preview):.2g}" if low else ""
    yield failed(
        f"{scheduler.kind} was built but not stepped in {full} {'epoch' if full == 1 else 'epochs'}: the learning rate{stays}{peak}.",
        severity=Severity.ERROR if low else Severity.WARNING,
        evidence={"measured": 0, "horizon": scheduler.horizon, "epochs": full},
        location=scheduler.stepped_where or scheduler.where,
        fix=start(scheduler, steps=scheduler.kind in PER_STEP, by_trainer=run.loop.closure),
        details=drawn(scheduler, None),
    )


def _too_rare(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    """Built for steps, stepped once an epoch."""
    horizon, preview = scheduler.horizon, scheduler.preview
    if not horizon or not run.steps or run.steps < FACTOR:
        return
    if run.total and run.epochs:
        batches = run.total * max(1, run.loop.accumulation)
        mixed_up = _fits(horizon, run.total) or _fits(horizon, batches)
        share, calls = run.epochs / horizon, f"{run.epochs} epochs make {run.epochs} calls"
    else:
        plausible = scheduler.kind in PER_STEP or horizon >= MANY_EPOCHS
        mixed_up = plausible and horizon >= FACTOR * run.steps and horizon % run.steps == 0
        share, calls = 1 / run.steps, f"an epoch has {run.steps:,} steps"
    if not mixed_up:
        return
    reached = max(preview[: 1 + math.ceil(share * len(preview))], default=0.0)
    short = bool(preview) and reached < 0.5 * max(preview)
    effect = f"the learning rate does not get beyond {reached:.2g} of {max(preview):.2g}" if short else "the learning rate hardly changes"
    yield failed(
        f"{scheduler.kind} was built for {horizon:,} steps but is stepped once an epoch ({calls}): {effect}.",
        severity=Severity.ERROR if short and run.epochs else Severity.WARNING,
        evidence={"measured": run.epochs, "expected": horizon, "threshold": FACTOR, "steps an epoch": run.steps},
        location=stepped_at(scheduler, run),
        fix=each_step(scheduler),
        details=drawn(scheduler, share * len(preview)),
    )


def _too_often(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    """Built for epochs, stepped after each batch."""
    steps = run.steps
    if not steps or scheduler.kind in (*PERIODIC, *PER_STEP):
        return
    left = left_after_epoch(scheduler, steps)
    low = min(scheduler.preview, default=0.0) if scheduler.kind in CYCLES else next(iter(scheduler.preview[-1:]), 0.0)
    falls = bool(scheduler.preview) and low < 0.5 * max(scheduler.preview)
    if left is not None and left < GONE / 10:
        effect, gone = f"the learning rate falls to {left:.0e} of its start within the first epoch", True
    elif scheduler.horizon and scheduler.horizon * FACTOR <= (run.total or steps) and falls:
        if run.epochs and scheduler.horizon > 1.1 * run.epochs:
            return
        if scheduler.kind in CYCLES and (not run.epochs or scheduler.horizon * CYCLE_FIT < run.epochs or run.epochs < FEW_EPOCHS):
            return
        swings = scheduler.swings or scheduler.kind in ("CosineAnnealingLR", *CYCLES)
        effect = f"the learning rate swings up and down every {scheduler.horizon} steps" if swings else "it has ended by then"
        gone = not swings and scheduler.preview[-1] < GONE * max(scheduler.preview)
    else:
        return
    built = f"is built for {scheduler.horizon:,} calls" if scheduler.horizon else "decays at every call"
    grave = gone and bool(run.epochs) and (scheduler.horizon or 0) < steps
    yield failed(
        f"{scheduler.kind} {built} but is stepped after each of {steps:,} steps an epoch: {effect}.",
        severity=Severity.ERROR if grave else Severity.WARNING if run.epochs or goes_by_epochs(run.loop) else Severity.NOTE,
        evidence={"measured": run.total, "expected": scheduler.horizon, "threshold": FACTOR, "steps an epoch": steps},
        location=stepped_at(scheduler, run),
        fix=each_epoch(scheduler),
        details=drawn(scheduler, None),
    )


def _unreached(scheduler: SchedulerInfo, run: RunLength, calls: int | None) -> Iterator[Verdict]:
    """A warm-up that is longer than the run."""
    peak, reached = scheduler.peak, scheduler.reached
    if not peak or reached is None or not calls or not run.epochs or reached >= 0.5 * peak:
        return
    yield failed(
        f"{scheduler.kind} rises too slowly for this run: in its {calls:,} calls the learning rate does not get beyond {reached:.2g} of {peak:.2g}.",
        severity=Severity.ERROR if run.epochs >= FEW_EPOCHS and reached < UNREACHED * peak else Severity.WARNING,
        evidence={"measured": reached, "expected": peak, "threshold": 0.5 * peak, "calls": calls, "epochs": run.epochs},
        location=scheduler.warmup_where or stepped_at(scheduler, run),
        fix=Fix(
            summary="Warm up over a share of the run, 3 to 10 % of its steps, not over a number from a longer one.",
            code=f"warmup_steps = {max(1, round(calls * 0.06))}  # 6 % of {calls:,} steps",
        ),
        details=drawn(scheduler, None),
    )


def _climbs(scheduler: SchedulerInfo, calls: int | None) -> Iterator[Verdict]:
    """A cosine longer than its half period."""
    horizon = scheduler.horizon
    if scheduler.kind != "CosineAnnealingLR" or not horizon or not calls or calls < FIT * horizon:
        return
    end = 0.5 * (1.0 + math.cos(math.pi * calls / horizon))
    if end > ANNEALED:
        yield failed(
            f"CosineAnnealingLR is at its minimum after {horizon:,} of {calls:,} calls and climbs back to {end:.0%} of the peak.",
            severity=Severity.WARNING,
            evidence={"measured": end, "expected": 0.0, "threshold": ANNEALED, "T_max": horizon, "calls": calls},
            location=scheduler.where,
            fix=Fix(
                summary="Set T_max to the calls of the whole run.",
                code=f"scheduler = CosineAnnealingLR(optimizer, T_max={calls})",
                edit=Edit(kind="schedule-length", values={"calls": calls}),
            ),
            details=drawn(scheduler, None),
        )


def _accumulated(scheduler: SchedulerInfo, run: RunLength) -> Iterator[Verdict]:
    """Built for batches, stepped only when gradients have accumulated."""
    share = run.loop.accumulation
    if share < 2 or not run.total or not scheduler.horizon or not _fits(scheduler.horizon, run.total * share):
        return
    yield failed(
        f"{scheduler.kind} was built for {scheduler.horizon:,} calls, one a batch, but gradients accumulate over {share} batches: "
        f"it is stepped {run.total:,} times and ends after 1/{share} of its course.",
        severity=Severity.WARNING,
        evidence={"measured": run.total, "expected": scheduler.horizon, "accumulation": share},
        location=scheduler.where,
        fix=Fix(
            summary="Divide its length by the accumulation.",
            code=f"total_steps = epochs * len(loader) // {share}",
            edit=Edit(kind="schedule-share", values={"share": share}),
        ),
        details=drawn(scheduler, len(scheduler.preview) / share),
    )


def _fits(length: int, unit: int) -> bool:
    return unit / FIT <= length <= unit * FIT
