"""Checks the order of the calls that make up a training step: clear, forward, loss, backward, clip, step.

## What it checks

- **Error**: gradients are computed but the optimizer never steps, and they are cleared away.
- **Error**: the same where an accumulation is longer than every epoch, and gradients are cleared at its start.
- **Error**: accelerate holds each step back, since the script calls `step()` at none of the batches at which it would let one through.
- **Error**: a framework steps by a closure, and the training step hands it no loss.
- **Error**: steps are taken without any gradient, because `backward()` is never called or comes after the step and the clearing.
- **Error**: gradients are cleared between `backward()` and the step that should use them.
- **Error**: within a step of several batches, the gradients of all but the last are cleared away. Without a loader it is a warning.
- **Warning**: the step of each iteration comes before its `backward()`, so it uses the gradients of the batch before.
- **Warning**: gradients are clipped after the step or before `backward()`; it clips nothing.

Healthy are: several optimizers in turn (GANs, where one network's gradients are cleared before its own step), clearing at any place
between a step and the next `backward()`, closures, gradients that are cleared within one batch (adversarial examples, sharpness-aware
minimisation, gradient surgery), single empty steps before the loop, and parameters updated by hand.

## Why it matters

Each call is right by itself, so nothing crashes. A step that sees no gradients trains nothing, and one that sees a part of them trains
on a part of the data.

## Example

```python
loss = criterion(model(x), y)
loss.backward()
optimizer.zero_grad()                       # throws away what backward() has computed
optimizer.step()
```

## Fix

Clear first, or right after the step.

```python
optimizer.zero_grad()
loss = criterion(model(x), y)
loss.backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
```

## Thresholds

- Half of the recorded steps: an order that is wrong by accident is wrong every time; single steps can belong to a warm-up.
- Without clearing, eight `backward()` calls without a step are a warning: a long accumulation may just not have come to its end.

## References

- PyTorch, torch.optim, Taking an optimization step: https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step
- PyTorch, clip_grad_norm_: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
- Foret et al. 2020, Sharpness-Aware Minimization (clears on purpose): https://arxiv.org/abs/2010.01412
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Event, Loop, Step
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._timelines import timeline

#: Share of the steps from which on an order is the loop's, not an accident.
MOST = 0.5
#: backward() calls without a step and without clearing that are worth a warning.
UNUSED_BACKWARDS = 8
#: Steps that accelerate held back, and rounds of batches that it accumulates, from which on it will hold back all others.
HELD = 2
#: Batches after which a scan ends an epoch without a step.
CUT_SHORT = 96
#: Steps by a closure that are enough to see that it never goes backward.
CLOSURES = 3

_ORDER = Fix(
    summary="Clear, compute the loss, go backward, clip, step: in this order.",
    code="optimizer.zero_grad()\nloss = criterion(model(inputs), targets)\nloss.backward()\noptimizer.step()",
    edit=Edit(kind="order-step"),
)


class LoopOrder(Rule):
    """Step, backward, clear and clip in the wrong order or missing."""

    code = "TL306"
    name = "loop-order"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Each optimizer step uses the gradients of its own batches"
    why = "Each call is right by itself, so nothing crashes; but a step that sees no gradients trains nothing."
    source = "PyTorch, torch.optim: https://docs.pytorch.org/docs/stable/optim.html#taking-an-optimization-step"
    requires = (Loop,)
    judges_loop = True
    blocked_by = ("no-gradient",)

    def judge(self, loop: Loop) -> Verdict:
        """Go through the ways in which a step can miss its gradients, the gravest first."""
        if not loop.steps:
            return _never_steps(loop)
        steps = loop.steps
        empty = [step for step in steps if step.without_gradient]
        starved = _most(empty, steps)
        if loop.closure and len(steps) >= CLOSURES and not any(event.kind == "backward" for event in loop.events):
            return _without_loss(loop)
        if starved and not any(event.kind == "backward" for event in loop.events) and not any(step.backwards for step in steps):
            return _fail(
                loop,
                f"{len(steps)} optimizer steps were taken, but backward() was never called.",
                flagged="step",
                at=steps[-1],
                fix=Fix(
                    summary="Call backward() on the loss before the step.",
                    code="loss.backward()\noptimizer.step()",
                    edit=Edit(kind="backward"),
                ),
            )
        if loop.step_before_backward and (starved or _lags(loop)):
            what = "finds no gradients" if starved else "uses the gradients of the batch before"
            message = f"step() comes before backward() in each iteration, so it {what}."
            return _fail(loop, message, flagged="step", at=steps[-1], fix=_ORDER, severity=Severity.ERROR if starved else Severity.WARNING)
        if loop.clear_between_backward_and_step and _most([s for s in steps if s.without_gradient or (s.backwards and not s.kept)], steps):
            return failed(
                "Gradients are cleared between backward() and step(): the optimizer never sees the gradients of its batch.",
                severity=Severity.ERROR,
                evidence={"measured": len(empty), "expected": 0, "steps": len(steps)},
                location=loop.clear_where,
                fix=_ORDER,
                details=(timeline(loop, "clear"),),
            )
        thrown = _thrown_away(loop)
        if thrown:
            return _discards(loop, thrown)
        late = [step for step in steps if step.clip_after_step]
        if _most(late, steps):
            return failed(
                f"Gradients are clipped between a step and the next backward() ({len(late)} of {len(steps)} times): the clipping has no effect.",
                severity=Severity.WARNING,
                evidence={"measured": len(late), "expected": 0, "steps": len(steps)},
                location=late[0].clip_where,
                fix=Fix(
                    summary="Clip between backward() and step().",
                    code="loss.backward()\ntorch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\noptimizer.step()",
                    edit=Edit(kind="clip-before-step"),
                ),
                details=(timeline(loop, "clip"),),
            )
        if len(empty) == len(steps):
            return not_run("the steps found no gradients although backward() was called: the optimizer's parameters get none")
        return passed(
            f"{len(steps) - len(empty)} of {len(steps)} steps used the gradients of their own batches.",
            evidence={"measured": len(empty), "expected": 0, "steps": len(steps)},
            details=(timeline(loop),),
        )


def _without_loss(loop: Loop) -> Verdict:
    """A framework that is handed no loss skips the batch without a word."""
    losses = [event for event in loop.events if event.kind == "loss"]
    return failed(
        f"{len(loop.steps)} optimizer steps were taken, but backward() was never called: no loss comes back from the training step"
        + (", although one is computed." if losses else "."),
        severity=Severity.ERROR,
        evidence={"measured": 0, "expected": len(loop.steps), "steps": len(loop.steps), "losses": len(losses)},
        location=loop.step_returns_where or (losses[-1].where if losses else loop.steps[-1].where),
        fix=Fix(
            summary="Return the loss on every path through the training step: what returns None is skipped.",
            code="return loss",
            edit=Edit(kind="return-loss"),
        ),
        details=(timeline(loop, "step"),),
    )


def _most(some: Sequence[Step], steps: Sequence[Step]) -> bool:
    return len(some) >= 2 and len(some) >= MOST * len(steps)


def _lags(loop: Loop) -> bool:
    """Whether most steps come between the loading of a batch and its backward(), so that they use the gradients of the one before."""
    late, total, loaded = 0, 0, False
    for event in loop.events:
        if event.kind in ("batch", "backward"):
            loaded = event.kind == "batch"
        elif event.kind == "step":
            late, total = late + loaded, total + 1
    return loop.has_loader and late > MOST * total


def _never_steps(loop: Loop) -> Verdict:
    backwards = [event for event in loop.events if event.kind == "backward"]
    if loop.manual_updates or not loop.optimizers:
        return not_run("no optimizer steps: the parameters are updated by hand")
    if any(event.kind == "unscale" for event in loop.events):
        return not_run("the gradient scaler let no step through so far, as it does while it looks for its factor")
    held = [event for event in loop.events if event.kind == "step-held"]
    if len(held) >= HELD and len(backwards) >= HELD * max(map(_accumulated, held)):
        return _held_back(loop, held, len(backwards))
    if len(backwards) < 2:
        return not_run("the run ended before an optimizer step could be expected")
    if _longest_epoch(loop.events) >= CUT_SHORT:
        return not_run(
            f"no optimizer step in {CUT_SHORT} batches, after which an epoch is cut short here; gradients may still be accumulating"
        )
    cleared = _clears_after(loop.events, "backward")
    if cleared < 2 and len(backwards) < UNUSED_BACKWARDS:
        return not_run(f"no optimizer step in {len(backwards)} backward() calls; gradients may still be accumulating")
    epochs = _whole_epochs(loop.events)
    summary = "Let the optimizer step after backward()."
    if cleared < 2 and epochs:
        summary = "Let the optimizer step after backward(); if it waits for more batches than an epoch has, at the epoch's last batch too."
    return failed(
        f"backward() was called {len(backwards)} times, but no optimizer took a step"
        + (f"; the gradients were cleared away {cleared} times." if cleared >= 2 else f" in {epochs} whole epochs." if epochs else "."),
        severity=Severity.ERROR if cleared >= 2 else Severity.WARNING,
        evidence={"measured": 0, "expected": len(backwards), "cleared": cleared},
        location=backwards[-1].where,
        fix=Fix(summary=summary, code="loss.backward()\noptimizer.step()", edit=Edit(kind="optimizer-step")),
        details=(timeline(loop, "backward"),),
    )


def _held_back(loop: Loop, held: Sequence[Event], backwards: int) -> Verdict:
    """Steps that accelerate holds back, each of them: they are called at other batches than those at which it lets one through."""
    return failed(
        f"step() was called {len(held)} times in {backwards} backward() calls, and accelerate held each back as one of a batch that it still "
        "accumulates: nothing is updated. The script's own condition and accelerate's never hold at the same batch.",
        severity=Severity.ERROR,
        evidence={"measured": 0, "expected": len(held), "backwards": backwards},
        location=loop.held_where or held[-1].where,
        fix=Fix(
            summary="Within accumulate(), call step() and zero_grad() at each batch: accelerate itself knows when to let them through.",
            code="with accelerator.accumulate(model):\n    loss = criterion(model(inputs), targets)\n    accelerator.backward(loss)\n"
            "    optimizer.step()\n    optimizer.zero_grad()",
        ),
        details=(timeline(loop, "step-held"),),
    )


def _accumulated(event: Event) -> float:
    """Batches that accelerate gathers for a step."""
    batches = event.info.get("batches")
    return batches if isinstance(batches, float | int) else 1.0


def _whole_epochs(events: Sequence[Event]) -> int:
    """Count the epochs of training that another one followed."""
    return max(sum(event.kind == "epoch" and event.phase != "val" for event in events) - 1, 0)


def _longest_epoch(events: Sequence[Event]) -> int:
    """Count the batches of the longest epoch of training."""
    most = count = 0
    for event in events:
        if event.kind == "epoch":
            count = 0
        elif event.kind == "batch" and event.phase != "val":
            count += 1
            most = max(most, count)
    return most


def _clears_after(events: Sequence[Event], kind: str) -> int:
    """Count clearings that come after at least one event of this kind."""
    count, pending = 0, False
    for event in events:
        if event.kind == kind:
            pending = True
        elif event.kind == "clear" and pending:
            count, pending = count + 1, False
    return count


def _thrown_away(loop: Loop) -> list[Step]:
    """Steps of a single optimizer that lost whole batches: as many batches as backward() calls, all but the last cleared away."""
    steps = [step for step in loop.steps if not step.without_gradient]
    if loop.stepped_optimizers > 1 or loop.closure or loop.manual_updates:
        return []
    lost = [step for step in steps if step.discarded > 0 and step.backwards > step.kept]
    batches = _between_steps(loop, _hands_out if loop.has_loader else _learns)
    if not _most(lost, steps) or any(step.backwards > batches for step in lost):
        return []
    return lost


def _hands_out(event: Event) -> bool:
    return event.kind == "batch" and event.phase != "val"


def _learns(event: Event) -> bool:
    """A forward that a backward() may follow, not one by which a policy acts."""
    return event.kind == "forward" and event.phase != "val" and bool(event.info.get("grad", True))


def _between_steps(loop: Loop, counted: Callable[[Event], bool]) -> int:
    """Count the most of these events that lie before one step and after the one before."""
    most = count = 0
    for event in loop.events:
        if event.kind == "step":
            most, count = max(most, count), 0
        elif counted(event):
            count += 1
    return most


def _discards(loop: Loop, thrown: Sequence[Step]) -> Verdict:
    step = thrown[-1]
    return failed(
        f"Of {step.backwards} batches a step, the gradients of {step.discarded} are cleared away before the step: "
        f"{step.discarded / step.backwards:.0%} of the computation is lost.",
        severity=Severity.ERROR if loop.has_loader else Severity.WARNING,
        evidence={"measured": step.discarded, "expected": 0, "backward calls a step": step.backwards, "steps": len(thrown)},
        location=step.discarded_where,
        fix=Fix(
            summary="Clear only after a step.",
            code=f"loss.backward()\nif (i + 1) % {step.backwards} == 0:\n    optimizer.step()\n    optimizer.zero_grad()",
            edit=Edit(kind="clear-after-step"),
        ),
        details=(timeline(loop, "clear"),),
    )


def _fail(loop: Loop, message: str, *, flagged: str, at: Step, fix: Fix, severity: Severity = Severity.ERROR) -> Verdict:
    empty = sum(step.without_gradient for step in loop.steps)
    return failed(
        message,
        severity=severity,
        evidence={"measured": empty, "expected": 0, "steps": len(loop.steps)},
        location=at.where,
        fix=fix,
        details=(timeline(loop, flagged),),
    )
