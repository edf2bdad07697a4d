"""Finds gradients that add up by accident, and accumulation that multiplies the step.

## What it checks

- **Error**: the gradients at a step still hold those of earlier steps, because nothing cleared them.
- **Warning** (a **note** for optimizers like Adam, which divide the gradient by its own size): four or more batches are summed up for
  each step, and the losses are means (by the call, or made after it) that nobody divided by their number, or that both the loop and a library
  divided by it.

Accumulation as such passes, when the gradients are cleared after each step and the loss is divided. So do several `backward()` calls on
one batch (losses of several tasks, GANs), LBFGS closures, and `zero_grad` at any place between a step and the next `backward()`.

## Why it matters

`backward()` adds to `.grad`. Without clearing, step 100 follows the sum of 100 gradients, of which 99 belong to weights that no longer
exist: like momentum that never forgets. And the sum of *n* mean losses is the gradient of a batch *n* times as large, *n* times over:
the learning rate is silently multiplied by *n*.

## Example

```python
for x, y in loader:
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()                        # nothing clears the gradients
```

## Fix

Clear once a step; divide the loss when several batches share a step.

```python
for i, (x, y) in enumerate(loader):
    loss = criterion(model(x), y) / 4
    loss.backward()
    if (i + 1) % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
```

## Thresholds

- Stale gradients: at two steps or more; a single one can be a warm-up before the loop.
- Four batches a step: below it the missing division is within what tuning the learning rate covers. A judgement.

## References

- PyTorch, Optimizer.zero_grad: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html
- PyTorch, Zeroing out gradients: https://docs.pytorch.org/tutorials/recipes/recipes/zeroing_out_gradients.html
- Goyal et al. 2017, Accurate, Large Minibatch SGD (section 3: normalise by the total batch): https://arxiv.org/abs/1706.02677
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from trainlint.details import Line, Series
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loop, Optimizers, Step
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Steps with stale gradients from which on it is no accident.
STALE_STEPS = 2
#: Batches a step from which on a missing division is worth a word.
UNDIVIDED = 4
#: How close what a loss was divided by comes to a whole number.
EXACTLY = 0.05


class GradientAccumulation(Rule):
    """Gradients that accumulate by accident, or accumulate undivided."""

    code = "TL305"
    name = "gradient-accumulation"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Each step follows the mean gradient of its own batches"
    why = "backward() adds to .grad: without clearing, every step follows the sum of all gradients so far."
    source = "PyTorch, Optimizer.zero_grad: https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.zero_grad.html"
    requires = (Loop, Optimizers)
    judges_loop = True

    def judge(self, loop: Loop, optimizers: Optimizers) -> Verdict:
        """Look for gradients of earlier steps, then for undivided sums over batches."""
        steps = [step for step in loop.steps if not step.without_gradient]
        if len(steps) < STALE_STEPS:
            return not_run(f"{len(steps)} optimizer steps with gradients were recorded; two are needed")
        stale = [step for step in steps if step.stale > 0]
        if len(stale) >= STALE_STEPS:
            return _stale(steps, stale)
        if stale and len(steps) <= STALE_STEPS:
            return not_run(
                f"a step held gradients of an earlier one, but with {len(steps)} recorded steps it cannot be said that this goes on"
            )
        kept = round(statistics.median(step.kept for step in steps))
        divisor = loop.loss_divided_by
        if kept >= UNDIVIDED and divisor is not None and loop.stepped_optimizers <= 1 and _batches_a_step(loop) >= kept:
            plain = any("SGD" in optimizer.kind for optimizer in optimizers.optimizers)
            if math.isclose(divisor, 1.0, rel_tol=EXACTLY):
                return _undivided(steps, kept, plain=plain, made=loop.loss_where)
            if math.isclose(divisor, kept**2, rel_tol=EXACTLY):
                return _twice(steps, kept, plain=plain, made=loop.divided_where)
        return passed(
            f"Gradients are cleared for each of {len(steps)} steps"
            + (f", each of which sums {kept} backward() calls." if kept > 1 else "."),
            evidence={"measured": len(stale), "expected": 0, "backward calls a step": kept},
        )


def _batches_a_step(loop: Loop) -> float:
    """Median number of training batches (forwards, when there is no loader) between two steps; infinite when no events were kept."""
    kind = "batch" if loop.has_loader else "forward"
    counts = []
    count = 0
    for event in loop.events:
        if event.kind == "step":
            counts.append(count)
            count = 0
        elif event.kind == kind and event.phase != "val":
            count += 1
    return statistics.median(counts) if counts else float("inf")


def _stale(steps: Sequence[Step], stale: Sequence[Step]) -> Verdict:
    worst = max(stale, key=lambda step: step.stale)
    norms = tuple(step.gradient_norm for step in steps if step.gradient_norm is not None)
    held = Line(name="backward() calls in the gradients", x=_numbers(len(steps)), y=tuple(float(step.kept) for step in steps))
    lines = (held, Line(name="gradient norm", x=_numbers(len(norms)), y=norms)) if len(norms) == len(steps) else (held,)
    return failed(
        f"The gradients are never cleared: {len(stale)} of {len(steps)} steps still hold gradients of earlier steps, "
        f"{worst.stale} backward() calls too many in the worst.",
        severity=Severity.ERROR,
        evidence={"measured": worst.stale, "expected": 0, "steps": len(stale)},
        location=worst.backward_where or worst.where,
        fix=Fix(
            summary="Clear the gradients once a step.",
            code="optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
            edit=Edit(
                kind="clear-gradients", at=worst.where, values={"batches": round(statistics.median(step.backwards for step in steps))}
            ),
        ),
        details=(Series(title="What each step follows", x_label="optimizer step", y_label="calls, norm", lines=lines),),
    )


def _undivided(steps: Sequence[Step], kept: int, *, plain: bool, made: Location | None) -> Verdict:
    effect = f"{kept} times as long" if plain else "hardly longer with this optimizer, but clipping and epsilon see larger gradients"
    return failed(
        f"Each step sums {kept} backward() calls of mean losses that are not divided by {kept}: the gradient is {kept} times the mean one, "
        f"steps are {effect}.",
        severity=Severity.WARNING if plain else Severity.NOTE,
        evidence={"measured": kept, "expected": 1, "threshold": UNDIVIDED},
        location=made or steps[0].backward_where,
        fix=Fix(
            summary="Divide the loss by the number of batches a step.",
            code=f"(loss / {kept}).backward()",
            edit=Edit(kind="divide-loss", values={"batches": kept}),
        )
        if made is None
        else Fix(
            summary="A trainer that is given a loss function of one's own leaves it to that: divide a sum by the number of items in all batches of "
            f"the step, which it hands over, or the mean by {kept}.",
            code='return F.cross_entropy(logits, labels, reduction="sum") / num_items_in_batch',
        ),
    )


def _twice(steps: Sequence[Step], kept: int, *, plain: bool, made: Location | None) -> Verdict:
    effect = f"a {kept}th as long" if plain else "hardly shorter with this optimizer, but clipping and epsilon see smaller gradients"
    return failed(
        f"Each of the {kept} losses that a step sums is divided by {kept} twice: the gradient is a {kept}th of the mean one, steps are {effect}.",
        severity=Severity.WARNING if plain else Severity.NOTE,
        evidence={"measured": kept**2, "expected": kept, "threshold": UNDIVIDED},
        location=made or steps[0].backward_where,
        fix=Fix(
            summary="Divide once: accelerate's backward(), and trainers that accumulate, divide the loss themselves.",
            code="accelerator.backward(loss)  # divides by gradient_accumulation_steps",
            edit=Edit(kind="divide-once"),
        ),
    )


def _numbers(count: int) -> tuple[float, ...]:
    return tuple(float(i + 1) for i in range(count))
