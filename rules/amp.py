"""Checks that short floating-point formats do not swallow what is learned: the gradient scaler, and the weights themselves.

## What it checks

- **Error** (a **warning** for optimizers like Adam, which divide the gradient by its own size): gradients are clipped while they still
  carry the scaler's factor, and the clipping bites. After unscaling, the step is shorter by that factor.
- **Error** (or **warning** likewise): the loss is scaled, but the optimizer steps by itself, not through the scaler, without unscaling.
- **Warning**: the scaler skipped every recorded step, five or more, because gradients overflowed.
- **Warning**: the weights themselves are bfloat16 or float16, and a step at the full learning rate leaves half of them or more unchanged, because it is
  smaller than the next number that the format has.

A disabled scaler passes, and so do a few skipped steps at the start, while the scaler looks for its factor.

## Why it matters

The scaler multiplies the loss by 65,536 at first, so that small float16 gradients do not underflow. Whoever looks at the gradients
before they are unscaled (clipping, a plain `optimizer.step()`) sees them 65,536 times too large.

bfloat16 has eight significant bits: a step below a five-hundredth of a weight does not change it, however often it is taken.

## Example

```python
scaler.scale(loss).backward()
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)     # clips the scaled gradients
scaler.step(optimizer)
scaler.update()
```

## Fix

Unscale before looking at the gradients.

```python
scaler.scale(loss).backward()
scaler.unscale_(optimizer)
torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
scaler.step(optimizer)
scaler.update()
```

## Thresholds

- Five skipped steps: five halvings of the initial factor of 65,536 leave 2,048; float16 holds values up to 65,504, so sound gradients
  fit by then.
- Half of the weights, at the full learning rate (from smaller steps of a warm-up it is told how many move at most): in float32 hardly any stays
  as it is. Weights of 16 bits that mostly move pass, and so do optimizers other than torch's, which may
  round at random or keep the remainder.
- Steps around the scaler: all of them, because one of several optimizers may do without it.

## References

- PyTorch, Automatic Mixed Precision examples, Gradient clipping:
  https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping
- Micikevicius et al. 2018, Mixed Precision Training: https://arxiv.org/abs/1710.03740
"""

from __future__ import annotations

from collections.abc import Sequence

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Loop, OptimizerInfo, Optimizers, ParameterInfo, Parameters, Step
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Skipped steps, none of them taken, from which on the scaler does not find a factor.
SKIPPED = 5
#: Share of the weights that a step at the full learning rate leaves as they are.
LOST = 0.5

_ORDER = Fix(
    summary="Unscale the gradients before clipping them.",
    code="scaler.scale(loss).backward()\nscaler.unscale_(optimizer)\n"
    "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\nscaler.step(optimizer)\nscaler.update()",
    edit=Edit(kind="unscale"),
)
_STEP = Fix(
    summary="Let the scaler take the step.",
    code="scaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()",
    edit=Edit(kind="scaler-step"),
)


class Amp(Rule):
    """A gradient scaler whose factor is taken for the gradients' own size."""

    code = "TL314"
    name = "amp"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Gradients are unscaled before they are clipped or used, and steps are not rounded away"
    why = "Gradients that are not unscaled are 65,536 times too large, and weights of 16 bits round small steps away."
    source = "PyTorch, Automatic Mixed Precision examples: https://docs.pytorch.org/docs/stable/notes/amp_examples.html"
    requires = (Loop, Optimizers, Parameters)
    judges_loop = True

    def judge(self, loop: Loop, optimizers: Optimizers, parameters: Parameters) -> Verdict:
        """Look at weights that rounding holds, at scaled clipping, at steps around the scaler, and at skipped steps."""
        for optimizer in optimizers.optimizers:
            short = [p for p in parameters.parameters if p.optimizer == optimizer.index and p.unmoved is not None and not p.norm_or_bias]
            rate = _full_rate(optimizer, optimizers)
            lost = _share(short, rate)
            if lost is not None and lost >= LOST:
                return _rounded(parameters, optimizer, lost, rate)
        if not loop.gradient_scaler:
            return not_run("no gradient scaler is in use")
        if not loop.steps:
            return not_run("no optimizer step was recorded")
        plain = {optimizer.index for optimizer in optimizers.optimizers if "SGD" in optimizer.kind}
        clipped = [step for step in loop.steps if step.clipped_scaled and _bites(step)]
        if len(clipped) >= 2:
            step = clipped[-1]
            return failed(
                f"Gradients are clipped to {step.clip_max_norm:g} while they carry the scaler's factor (norm {step.clipped:,.0f}), "
                f"so that {len(clipped)} of {len(loop.steps)} steps are far too short.",
                severity=Severity.ERROR if step.optimizer in plain else Severity.WARNING,
                evidence={"measured": step.clipped, "threshold": step.clip_max_norm, "steps": len(clipped)},
                location=step.clip_where,
                fix=_ORDER,
            )
        around = [step for step in loop.steps if not step.scaler]
        if len(around) == len(loop.steps) and not any(event.kind == "unscale" for event in loop.events):
            step = around[-1]
            return failed(
                f"The loss is scaled, but all {len(around)} steps are taken by optimizer.step() itself, not through the scaler: "
                "the gradients keep its factor.",
                severity=Severity.ERROR if step.optimizer in plain else Severity.WARNING,
                evidence={"measured": len(around), "expected": 0},
                location=step.where,
                fix=_STEP,
            )
        return _skipped(loop.steps)


def _full_rate(optimizer: OptimizerInfo, optimizers: Optimizers) -> float:
    previews = [rate for scheduler in optimizers.schedulers if scheduler.optimizer == optimizer.index for rate in scheduler.preview]
    return max([*previews, *(group.lr for group in optimizer.groups)], default=0.0)


def _share(weights: Sequence[ParameterInfo], rate: float) -> float | None:
    """Share of the elements of some weights that a step at the full rate leaves as they are, at least; None without weights.

    A weight moves when the step is half its gap, which grows with the weight; so of weights that are spread evenly about zero, or lie closer
    to it, those that move are at most as many times more as the step is longer.
    """
    sizes = [(p.size, max(1 - (1 - (p.unmoved or 0.0)) * max(rate / p.lr, 1.0), 0.0)) for p in weights if p.lr]
    total = sum(size for size, _ in sizes)
    return sum(size * unmoved for size, unmoved in sizes) / total if total else None


def _rounded(parameters: Parameters, optimizer: OptimizerInfo, lost: float, rate: float) -> Verdict:
    return failed(
        f"The weights are numbers of 16 bits, and a step of {optimizer.kind} (lr {rate:.2g}) leaves {lost:.0%} of those with a gradient as they were: "
        "it is smaller than the gap to the next number, and rounded away.",
        severity=Severity.WARNING,
        evidence={"measured": lost, "expected": 0.0, "threshold": LOST, "lr": rate},
        location=parameters.cast_where or optimizer.where,
        fix=Fix(
            summary="Keep the weights in float32 and let autocast choose the format of each operation.",
            code='with torch.autocast("cuda", dtype=torch.bfloat16):\n    loss = criterion(model(inputs), targets)\nloss.backward()',
        ),
    )


def _skipped(steps: Sequence[Step]) -> Verdict:
    skipped = sum(step.skipped for step in steps)
    evidence: dict[str, str | float | None] = {"measured": skipped, "threshold": SKIPPED, "steps": len(steps)}
    if skipped == len(steps) and skipped >= SKIPPED:
        return failed(
            f"The gradient scaler skipped all {skipped} recorded steps because gradients overflowed: nothing was learned so far.",
            severity=Severity.WARNING,
            evidence={**evidence},
            location=steps[-1].where,
            fix=Fix(
                summary="Call scaler.update() after each step, or use bfloat16, which needs no scaler.",
                code='with torch.autocast("cuda", dtype=torch.bfloat16):\n    loss = criterion(model(inputs), targets)\nloss.backward()',
            ),
        )
    return passed(f"The scaler took {len(steps) - skipped} of {len(steps)} steps, with unscaled gradients.", evidence={**evidence})


def _bites(step: Step) -> bool:
    return step.clipped is not None and step.clip_max_norm is not None and step.clipped > step.clip_max_norm
