"""The model is large enough for one batch, when nothing else is wrong.

## What it checks

The last question, asked only when no other rule found an error or a warning, but for those that too small a model explains (overfit-batch,
lr-range, update-ratio), and one batch could still not be learned by heart. It is a **warning** when the loss of that batch came down and then stood still above its floor at every learning
rate that was tried, and no two samples contradict each other: what is left is a model that cannot represent the answer.
The message compares the number of trainable parameters with the 2n + d that suffice for n samples of d values.

Nothing is said while the loss is still falling, or never fell: then it is optimisation, not capacity.

## Why it matters

A bigger model is the most expensive answer and the first that comes to mind. It is the right one only after data,
wiring, learning rate and regularisation are ruled out, and then it is the only one that helps.

## Example

```python
model = nn.Linear(2, 2)  # for two spirals
```

## Fix

```python
model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
```

## Thresholds

- Not fitted: more than 10 % of the loss above its floor is left, and less than 99 % of the classes are right; as in
  overfit-batch.
- Standing still: the last fifth of the steps is less than 5 % below the fifth before it.
- Came down: by 2 % at least.
- 2n + d parameters: Zhang et al., theorem 1. Fewer than the targets of a batch cannot fit them, whatever the model.

## References

- Zhang et al., Understanding Deep Learning Requires Rethinking Generalization: <https://arxiv.org/abs/1611.03530>
- Karpathy, A Recipe for Training Neural Networks: <https://karpathy.github.io/2019/04/25/recipe/>
"""

from __future__ import annotations

import statistics

from trainlint.details import Line, Mark, Series
from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import Attempt, Overfit, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

FITTED = 0.1
FITTED_ACCURACY = 0.99
FLAT = 0.05
CAME_DOWN = 0.98
LEAST_STEPS = 30


class Capacity(Rule):
    """Speaks last, about what nothing else explains."""

    code = "TL701"
    name = "capacity"
    stage = Stage.CAPACITY
    severity = Severity.WARNING
    summary = "The model is large enough to learn one batch by heart"
    why = "When all else is right, a model that cannot represent the answer is mended by a larger one, and by nothing else."
    source = "Zhang et al., Understanding Deep Learning Requires Rethinking Generalization, https://arxiv.org/abs/1611.03530"
    requires = (Overfit, Parameters)
    only_when_others_pass = True
    despite = ("overfit-batch", "lr-range", "update-ratio")

    def judge(self, overfit: Overfit, parameters: Parameters) -> Verdict:
        """A loss that fell and then stood still above its floor."""
        if not 0 <= overfit.best < len(overfit.attempts) or overfit.unbounded:
            return not_run("it is not known how low the loss of one batch can go")
        best = overfit.attempts[overfit.best]
        size = sum(p.size for p in parameters.parameters if p.requires_grad)
        evidence: dict[str, Json] = {
            "measured": overfit.reached,
            "expected": 0,
            "threshold": FITTED,
            "final": overfit.final,
            "floor": overfit.floor,
            "accuracy": overfit.accuracy,
            "parameters": size,
            "samples": overfit.batch_size,
        }
        if _fitted(overfit):
            return passed(f"{size:,} parameters learn a batch of {overfit.batch_size} by heart.", evidence=evidence)
        if overfit.conflicting:
            return not_run(f"{overfit.conflicting} samples of the batch contradict each other, so no model can fit it")
        if overfit.cut_short:
            return not_run(f"the budget ended while one batch was being learned, after {len(best.losses)} steps")
        if max(len(a.losses) for a in overfit.attempts) < LEAST_STEPS or _falling(best):
            return not_run(f"the loss of one batch was still falling after {len(best.losses)} steps")
        if overfit.reached > CAME_DOWN:
            return not_run("the loss of one batch did not come down at all, which more capacity would not change")
        return _failure(overfit, parameters, size, evidence)


def _fitted(overfit: Overfit) -> bool:
    above = overfit.initial - overfit.floor
    known = overfit.accuracy is not None and overfit.accuracy >= FITTED_ACCURACY
    return known or overfit.reached <= FITTED or above <= FITTED * max(abs(overfit.initial), 1e-12)


def _falling(attempt: Attempt) -> bool:
    """Whether the last fifth of the steps is still clearly lower than the fifth before it."""
    fifth = max(len(attempt.losses) // 5, 1)
    before, last = attempt.losses[-2 * fifth : -fifth], attempt.losses[-fifth:]
    return bool(before) and statistics.fmean(last) < (1 - FLAT) * statistics.fmean(before)


def _failure(overfit: Overfit, parameters: Parameters, size: int, evidence: dict[str, Json]) -> Verdict:
    score = f", {overfit.accuracy:.0%} of its classes right" if overfit.accuracy is not None else ""
    few = "fewer" if size < 2 * overfit.batch_size else "no fewer"
    rates = ", ".join(f"{a.lr:g}" for a in overfit.attempts)
    return failed(
        f"No rule found a cause, and yet one batch of {overfit.batch_size} cannot be learned by heart: the loss falls from {overfit.initial:.3g} "
        f"to {overfit.final:.3g} and stands still (learning rates {rates}{score}). The model has {size:,} trainable parameters, {few} than the "
        f"{2 * overfit.batch_size} that as many samples need, inputs not counted.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=parameters.model_where or overfit.where,
        fix=Fix(
            summary="See that all of the input reaches the output; then widen the model or add a layer with an activation until one batch can be fitted; then regularise. A bottleneck that all "
            "information passes is the first place to widen.",
            code="model = nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs))",
        ),
        details=_curves(overfit),
    )


def _curves(overfit: Overfit) -> tuple[Series, ...]:
    lines = tuple(Line(name=f"lr {a.lr:g}", x=tuple(float(i) for i in range(len(a.losses))), y=a.losses) for a in overfit.attempts)
    marks = (Mark(label="lowest possible", y=overfit.floor),)
    return (Series(title="One batch, again and again", x_label="step", y_label="loss", lines=lines, marks=marks),)
