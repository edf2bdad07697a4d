"""Checks that gradient clipping leaves steps that still move the weights.

## What it checks

How far clipping shortens the gradients, and how long the steps are that remain.

- **Error** (SGD): every recorded step is cut, the median one to less than a hundredth, and the step that remains changes the weights by
  less than float32 resolves.
- **Warning** (SGD): the same, and the step that remains changes the weights by less than 1e-4 of themselves.
- **Error or warning** (optimizers like Adam): the clipped gradient lies below the optimizer's epsilon, by a hundred times or at all, so
  that dividing by its own size no longer makes up for it.

- **Warning**: `clip_grad_norm_` is handed an iterator that the optimizer, or its own first call, has read to the end, so that it gets no tensors.
- **Warning**: nothing that is clipped is trained: in all calls the tensors have no gradients and belong to no optimizer, as those of another model.
- **Warning**: Lightning's `Trainer(gradient_clip_val=...)` is set, but the module overrides `configure_gradient_clipping` and leaves the gradients
  as they are there, in all recorded steps, some of which are above the limit. One that names anything that clips may do so later, and passes.

Clipping a norm of 10 to 1.0 is healthy, even at every step: that is what clipping is for. With Adam a constant factor hardly matters,
and a threshold that never bites does no harm.

## Why it matters

A threshold in the wrong unit (1e-6 instead of 1.0, or applied to scaled gradients) clips every step to nothing. The loss then stands
still at its starting value, and the learning rate gets the blame.

## Example

```python
torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1e-6)
```

## Fix

Set the threshold a little above the usual norm, so that only outliers are cut. 1.0 fits many models with mean-reduced losses.

```python
torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
```

## Thresholds

- A hundredth: public programs clip norms of 0.5 to 30 at 0.25 to 1.0, and the healthy pipelines measured keep 0.71 and more.
- 1.2e-7: the relative resolution of float32; a smaller change is lost in rounding.
- 1e-4: a tenth of the usual update ratio of 1e-3 (CS231n).
- Adam's epsilon, 1e-8 when it is not set (Kingma and Ba 2015).

## References

- Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks: https://arxiv.org/abs/1211.5063
- Zhang et al. 2020, Why Gradient Clipping Accelerates Training: https://arxiv.org/abs/1905.11881
- PyTorch, clip_grad_norm_: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainlint.details import Line, Mark, Series
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Event, Loop, OptimizerInfo, Optimizers, Parameters, Step
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: What is left of the norm, below which clipping is looked at closely.
LEFT = 1e-2
#: Relative change of the weights by one step: lost in rounding, and clearly too small.
LOST, SMALL = 1.2e-7, 1e-4
#: Adam's epsilon where the optimizer does not say, and the distance below it at which an update is gone.
EPSILON, GONE = 1e-8, 1e-2
#: Calls that clip nothing, before all of them are taken to do so.
LEAST = 3


class GradClip(Rule):
    """Clipping that nullifies the steps."""

    code = "TL316"
    name = "grad-clip"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Clipped gradients still move the weights"
    why = "Clipping that cuts every step to nothing stops learning, and clipping that reaches nothing lets single steps wreck it; the learning rate gets the blame."
    source = "Pascanu, Mikolov and Bengio 2013: https://arxiv.org/abs/1211.5063"
    requires = (Loop, Optimizers, Parameters)
    judges_loop = True
    blocked_by = ("amp",)

    def judge(self, loop: Loop, optimizers: Optimizers, parameters: Parameters) -> Verdict:
        """Ask each optimizer's steps what clipping left of them."""
        clips = [event for event in loop.events if event.kind == "clip"]
        used_up = [event for event in clips if event.info.get("used_up")]
        idle = [event for event in clips if event.info.get("idle")]
        if used_up:
            return _used_up(used_up, len(clips))
        if len(idle) == len(clips) >= LEAST and any(not step.without_gradient for step in loop.steps):
            return _idle(idle)
        left_out = [event for event in loop.events if event.kind == "clip-left-out"]
        if not clips and len(left_out) >= LEAST and any(_above(event) for event in left_out):
            return _left_out(left_out)
        if not any(step.clipped is not None for step in loop.steps):
            return not_run("gradients are not clipped by their norm")
        said = []
        for optimizer in optimizers.optimizers:
            steps = [step for step in loop.steps if step.optimizer == optimizer.index and not step.skipped]
            clipped = [step for step in steps if _left(step) < 1.0]
            left = statistics.median(_left(step) for step in steps) if steps else 1.0
            if steps and len(clipped) == len(steps) and left < LEFT:
                remains = _remains(optimizer, clipped, parameters)
                if remains and remains.value < remains.enough:
                    return _nullified(optimizer, clipped, left, remains)
            said.append((len(clipped), len(steps), left))
        active, total, left = max(said, default=(0, 0, 1.0))
        return passed(
            f"Clipping is active at {active} of {total} steps and leaves {left:.1%} of the norm in the median.",
            evidence={"measured": left, "threshold": LEFT, "active": active, "steps": total},
        )


@dataclass(frozen=True)
class _Remains:
    """What is left of a step, in the unit that matters for its optimizer."""

    value: float
    enough: float
    gone: float
    words: str


def _left(step: Step) -> float:
    """Factor that clipping put on the gradient; 1 when it did not bite."""
    if step.clip_after_step or not step.clipped or step.clip_max_norm is None or not math.isfinite(step.clipped):
        return 1.0
    return min(1.0, step.clip_max_norm / step.clipped)


def _remains(optimizer: OptimizerInfo, clipped: Sequence[Step], parameters: Parameters) -> _Remains | None:
    mine = [p for p in parameters.parameters if p.optimizer == optimizer.index and p.requires_grad]
    norm = max(step.clip_max_norm or 0.0 for step in clipped)
    if "SGD" in optimizer.kind:
        weight = math.hypot(*(p.weight_norm for p in mine))
        rate = max((group.lr / max(0.01, 1.0 - group.momentum) for group in optimizer.groups), default=0.0)
        if not weight or not rate:
            return None
        change = rate * norm / weight
        return _Remains(change, SMALL, LOST, f"a step changes the weights by {change:.1g} of themselves")
    elements = sum(p.size for p in mine)
    if not elements:
        return None
    eps = optimizer.options.get("eps", EPSILON)
    epsilon = float(eps) if isinstance(eps, (int, float)) else EPSILON
    size = norm / math.sqrt(elements)
    return _Remains(size, epsilon, epsilon * GONE, f"the gradient is {size:.1g} an element, its epsilon {epsilon:.0e}")


def _used_up(calls: Sequence[Event], count: int) -> Verdict:
    first = calls[0]
    return failed(
        f"Clipping to {first.info.get('max_norm', 0.0):g} is handed an iterator that was read to its end before: it gets no tensors at {len(calls)} of "
        f"{count} recorded calls, and clips nothing.",
        severity=Severity.WARNING,
        evidence={"measured": 0, "expected": "the parameters that are trained", "threshold": 0, "calls": len(calls)},
        location=first.where,
        fix=Fix(
            summary="filter(), a generator and model.parameters() can be read once: make a list of them where they are kept, before the optimizer gets it.",
            code=f"params = [p for p in model.parameters() if p.requires_grad]\n...\ntorch.nn.utils.clip_grad_norm_(params, {first.info.get('max_norm', 1.0):g})",
        ),
    )


def _idle(calls: Sequence[Event]) -> Verdict:
    tensors = max(int(event.info.get("tensors", 0)) for event in calls)
    handed = f"{tensors} tensors that have no gradients and that no optimizer trains" if tensors else "no tensors"
    return failed(
        f"Clipping to {calls[0].info.get('max_norm', 0.0):g} is handed {handed}, at all {len(calls)} recorded calls: the gradients that train the model are not clipped.",
        severity=Severity.WARNING,
        evidence={"measured": 0, "expected": "the parameters that are trained", "threshold": 0, "calls": len(calls), "tensors": tensors},
        location=calls[0].where,
        fix=Fix(
            summary="Clip the parameters that the optimizer trains.",
            code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {calls[0].info.get('max_norm', 1.0):g})",
        ),
    )


def _above(event: Event) -> bool:
    return float(event.info.get("norm", 0.0)) > float(event.info.get("max_norm", math.inf))


def _left_out(calls: Sequence[Event]) -> Verdict:
    limit = float(calls[0].info.get("max_norm", 0.0))
    sizes = [float(event.info.get("norm", 0.0)) for event in calls]
    above = sum(_above(event) for event in calls)
    what = "norm" if calls[0].info.get("by_norm", True) else "largest entry"
    return failed(
        f"The trainer is to clip gradients to {limit:g} (gradient_clip_val), but the module's own configure_gradient_clipping takes its place and leaves them "
        f"as they are: their {what} is above {limit:g} at {above} of {len(calls)} recorded steps, at most {max(sizes):.3g}.",
        severity=Severity.WARNING,
        evidence={"measured": max(sizes), "threshold": limit, "above": above, "steps": len(calls), "by_norm": what == "norm"},
        location=calls[0].where,
        fix=Fix(
            summary="An override replaces Lightning's clipping: call self.clip_gradients() in it. To log norms only, use on_before_optimizer_step instead.",
            code="def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):\n"
            "    ...\n    self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)",
        ),
        details=(
            Series(
                title="Gradients at the steps",
                x_label="step",
                y_label=what,
                lines=(Line(name="not clipped", x=tuple(float(i + 1) for i in range(len(sizes))), y=tuple(sizes)),),
                log_y=True,
                marks=(Mark(label="gradient_clip_val", y=limit),),
            ),
        ),
    )


def _nullified(optimizer: OptimizerInfo, clipped: Sequence[Step], left: float, remains: _Remains) -> Verdict:
    norms = tuple(step.clipped or 0.0 for step in clipped)
    limit = clipped[-1].clip_max_norm or 0.0
    middle = statistics.median(norms)
    return failed(
        f"Clipping to {limit:g} leaves {left:.1g} of the gradient at all {len(clipped)} steps of {optimizer.kind} "
        f"(norm {middle:.2g}): {remains.words}.",
        severity=Severity.ERROR if remains.value < remains.gone else Severity.WARNING,
        evidence={"measured": left, "threshold": LEFT, "norm": middle, "max_norm": limit, "remaining step": remains.value},
        location=clipped[-1].clip_where,
        fix=Fix(
            summary="Set the threshold a little above the usual norm of the gradient.",
            code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm={max(norms):.1g})",
            edit=Edit(kind="clip-norm", values={"norm": f"{max(norms):.1g}"}),
        ),
        details=(
            Series(
                title="Gradient norm before clipping",
                x_label="step",
                y_label="norm",
                lines=(Line(name=optimizer.kind, x=tuple(float(i + 1) for i in range(len(norms))), y=norms),),
                log_y=True,
                marks=(Mark(label="clipped to", y=limit),),
            ),
        ),
    )
