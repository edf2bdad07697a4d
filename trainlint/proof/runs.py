"""Short replayed trainings under two conditions, the script's own and the fix's, from the same weights, batches and seeds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainlint.details import Line, Series
from trainlint.finding import Finding, Proof
from trainlint.measurements import Measurement, Unmeasured
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.optimizer_copies import configured_lr
from trainlint.probes.step.replay import Rehearsal, rehearsal
from trainlint.probes.training.regularisers import Change, unregularised
from trainlint.record.random_state import seed_torch
from trainlint.record.recording import Recording
from trainlint.wording import plain

__all__ = ["Bench", "Condition", "Fill", "affordable", "checks", "compared", "judged_loss", "not_tried", "run", "then"]

#: Batch tensors by slot.
Fill = Mapping[int, Tensor]

#: Steps of a run, and the least that says anything.
_STEPS, _LEAST_STEPS = 40, 10
#: Each condition is run with as many orders of the batches; the worst with the fix must beat the best without.
_ORDERS = 2
#: Times at which a run is judged, its start and its end among them.
_CHECKS = 9
#: Batches on which it is judged.
_JUDGED = 4
#: Share of the loss without the fix, or of the first one, by which the fix must be better at least; less is what the order of sums can make.
_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How a run differs from a plain one: the script's own optimizer, its batches, cleared gradients, its clipping."""

    change: Change | None = None
    """Operations called in place of the recorded ones."""
    judged: Change | None = None
    """The same for the loss that a run is judged by."""
    feed: Callable[[Fill], Fill] = lambda fill: fill
    """What becomes of a batch before it is fed."""
    prepare: Callable[[Rehearsal], None] = lambda trial: None
    """Changes the first weights."""
    optimizer: Callable[[Rehearsal, float], Optimizer] = lambda trial, lr: trial.own_optimizer(lr)
    """Makes the optimizer, given the configured learning rate."""
    rate: Callable[[float], float] = lambda progress: 1.0
    """Factor on the learning rate, by the share of the run that is over (0 to 1)."""
    clear: bool = True
    """Gradients are cleared before each backward()."""
    gathered: int = 1
    """Batches whose mean gradient makes one step."""
    used: int = 1
    """As many of these, the last ones, reach the step; the others are thrown away."""
    gradient_scale: float = 1.0
    """Factor on the gradients when they are clipped, taken out before the step."""
    loss_scale: float = 1.0
    """Factor on the gradients that the step itself uses."""
    max_norm: float | None = None
    """Limit of the gradient norm in place of the script's own."""
    mode: Callable[[Rehearsal], AbstractContextManager[object]] = field(default=lambda trial: nullcontext())
    """Surrounds the run."""
    order: Sequence[Fill] | None = None
    """Batches to train on, in this order; the recorded ones, in a drawn order, when None."""


@dataclass
class Bench:
    """What a trial has at hand."""

    recording: Recording
    finding: Finding
    """The failure whose fix is tried."""
    measure: Callable[[type[Measurement]], Measurement | Unmeasured]
    """Measurements that were made already."""
    deadline: float
    """``time.monotonic()`` after which no further run begins."""
    fix: Condition | None = None
    """The condition that was compared with the script's own."""

    def rehearsal(self, change: Change | None = None, *, broken: bool = False) -> AbstractContextManager[Rehearsal]:
        """The recorded step, ready to be trained on again; raises CannotMeasureError when it cannot be, even under the change.

        With ``broken`` its loss need not be a number.
        """
        return rehearsal(self.recording, batches=True, change=change, broken=broken)


def then(first: Change | None, second: Change | None) -> Change | None:
    """Both changes, one after the other."""
    if first is None or second is None:
        return first or second
    return lambda op: second(first(op))


def not_tried(reason: str) -> Proof:
    """A proof that could not be made, and why."""
    return Proof(helped=False, tried=False, summary=reason)


def compared(
    bench: Bench,
    trial: Rehearsal,
    *,
    before: Condition,
    after: Condition,
    words: str,
    measure: str = "loss on the recorded batches",
    judged_on: Sequence[Fill] | None = None,
    mended: bool = False,
) -> Proof:
    """Train under both conditions and say whether the second learns more.

    Args:
        words: What the fix changed, as the beginning of a sentence: ``Without the softmax``.
        measure: What the number that is compared is.
        judged_on: Batches on which both are judged; recorded ones when None.
        mended: ``words`` tell what the rule itself measured under the fix, and that it passes; then the loss need only be no worse.
    """
    bench.fix = after
    steps = affordable(bench.deadline, trial, after, 2 * _ORDERS)
    runs: dict[str, list[tuple[float, ...]]] = {"as it is": [], "with the fix": []}
    fills = list(judged_on or trial.fills[:_JUDGED])
    for order in range(_ORDERS):
        for name, condition in (("as it is", before), ("with the fix", after)):
            runs[name].append(run(trial, condition, partial(judged_loss, trial, condition, fills), steps, order))
    at = tuple(float(i) for i in checks(steps))
    old, new = ([r[-1] for r in runs[n]] for n in ("as it is", "with the fix"))
    start = runs["as it is"][0][0]
    helped = _better(old, new, start) or (mended and _no_worse(old, new))
    before_value, after_value = _mean(old), _mean(new)
    seen = f"{measure} after {steps} steps goes from {before_value:.3g} to {after_value:.3g}"
    if not math.isfinite(before_value):
        seen = f"{measure} after {steps} steps is {after_value:.3g}, where it was not a finite number before"
    if not math.isfinite(after_value):
        seen = (
            f"{measure} after {steps} steps is not a finite number either" if not math.isfinite(before_value) else f"{measure} breaks down"
        )
    started = f" (it starts at {start:.3g})" if math.isfinite(start) else ""
    lines = tuple(Line(name=n, x=at, y=tuple(_mean([r[i] for r in runs[n]]) for i in range(len(at)))) for n in runs)
    values = [y for line in lines for y in line.y if math.isfinite(y)]
    return Proof(
        helped=helped,
        summary=plain(f"{words}, the {seen}{started}{'' if _better(old, new, start) else _doubt(before_value, after_value, start)}."),
        before=before_value if math.isfinite(before_value) else None,
        after=after_value if math.isfinite(after_value) else None,
        measure=f"{measure} after {steps} steps",
        curves=Series(
            title="The same steps, as it is and with the fix",
            x_label="step",
            y_label=measure,
            lines=lines,
            log_y=bool(values) and min(values) > 0 and max(values) > 30 * min(values),
        ),
    )


def _better(old: Sequence[float], new: Sequence[float], start: float) -> bool:
    """Whether the worst run with the fix ends below the best without."""
    if not all(math.isfinite(v) for v in new):
        return False
    if not all(math.isfinite(v) for v in old):
        return True
    margin = _MARGIN * min(abs(start) if math.isfinite(start) else math.inf, abs(min(old)))
    return max(new) < min(old) - margin


def _doubt(old: float, new: float, start: float) -> str:
    """Why a lower loss is not enough."""
    less = math.isfinite(old) and new < old - _MARGIN * min(abs(start) if math.isfinite(start) else math.inf, abs(old))
    return ", but not in each order of the batches" if less else ": no gain within so few steps"


def _no_worse(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether the runs with the fix end about where those without do, or lower."""
    return all(math.isfinite(v) for v in new) and statistics.fmean(new) <= statistics.fmean(old) * (1 + _MARGIN)


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if all(math.isfinite(v) for v in values) else math.nan


def checks(steps: int) -> list[int]:
    """Numbers of steps after which a run is judged."""
    return sorted({round(i * steps / (_CHECKS - 1)) for i in range(_CHECKS)})


def affordable(deadline: float, trial: Rehearsal, condition: Condition, runs: int) -> int:
    """Steps that leave room for all runs, judged by one step that is taken back."""
    left = deadline - time.monotonic()
    began = time.monotonic()
    with condition.mode(trial):
        trial.rewind()
        _loss(trial, condition, trial.fills[0], condition.change, grad=True)
    one = max(3.0 * (time.monotonic() - began), 1e-4)  # a backward costs about two forwards
    judged = _CHECKS * _JUDGED / 3
    steps = int(left / (runs * one * condition.gathered) - judged)
    if steps < _LEAST_STEPS:
        msg = "the time left was too short to try the fix"
        raise CannotMeasureError(msg)
    return min(steps, _STEPS)


def run(trial: Rehearsal, condition: Condition, judge: Callable[[], float], steps: int, order: int) -> tuple[float, ...]:
    """What ``judge`` says at each check; infinite once the run has broken down. ``order`` seeds the batches and all draws."""
    places = checks(steps)
    lr = max(configured_lr(trial.recording))
    generator = torch.Generator().manual_seed(order)
    seed_torch(order)
    seen: list[float] = []
    with condition.mode(trial):
        trial.rewind()
        for leaf in trial.leaves:
            leaf.grad = None
        condition.prepare(trial)
        optimizer = condition.optimizer(trial, lr)
        full = [g["lr"] for g in optimizer.param_groups]
        queue: list[Fill] = []
        for step in range(steps + 1):
            if step in places:
                seen.append(judge())
            if step == steps:
                break
            for group, own in zip(optimizer.param_groups, full, strict=True):
                group["lr"] = own * condition.rate(step / steps)
            while len(queue) < condition.gathered:
                queue.extend(condition.order or [trial.fills[i] for i in torch.randperm(len(trial.fills), generator=generator).tolist()])
            batches, queue = queue[: condition.gathered], queue[condition.gathered :]
            if not _step(trial, condition, optimizer, batches):
                break
    return (*seen, *[math.inf] * (len(places) - len(seen)))


def _step(trial: Rehearsal, condition: Condition, optimizer: Optimizer, batches: Sequence[Fill]) -> bool:
    """One training step; False when its loss or gradients are no numbers."""
    if condition.clear:
        for leaf in trial.leaves:
            leaf.grad = None
    for fill in batches[len(batches) - condition.used :]:
        try:
            loss = _loss(trial, condition, fill, condition.change, grad=True)
        except (RuntimeError, ValueError, IndexError, ArithmeticError):  # weights gone astray, or targets that the loss refuses
            return False
        if not math.isfinite(float(loss.detach())):
            return False
        for leaf, gradient in zip(trial.leaves, trial.gradients(loss), strict=True):
            if gradient is not None:
                part = gradient * (condition.gradient_scale * condition.loss_scale / condition.used)
                leaf.grad = part if leaf.grad is None else leaf.grad + part
    limit = condition.max_norm or trial.max_norm
    if limit is not None:
        torch.nn.utils.clip_grad_norm_(trial.leaves, limit)
    if condition.gradient_scale != 1.0:
        for leaf in trial.leaves:
            if leaf.grad is not None:
                leaf.grad = leaf.grad / condition.gradient_scale
    optimizer.step()
    return True


def _loss(trial: Rehearsal, condition: Condition, fill: Fill, change: Change | None, *, grad: bool) -> Tensor:
    return trial.loss(dict(condition.feed(fill)), change=change, grad=grad)


def judged_loss(trial: Rehearsal, condition: Condition, fills: Sequence[Fill], mode: Change | None = None) -> float:
    """Mean loss over some batches without regularisation, infinite when it is no number; ``mode`` changes operations further."""
    change = then(then(condition.judged, unregularised), mode)
    kept = [(b, b.clone()) for m in trial.recording.models() for b in m.buffers()]
    try:
        value = statistics.fmean(float(_loss(trial, condition, f, change, grad=False)) for f in fills)
        return value if math.isfinite(value) else math.inf
    except (RuntimeError, ValueError, IndexError, ArithmeticError):
        return math.inf
    finally:
        with torch.no_grad():
            for buffer, own in kept:
                buffer.copy_(own)
