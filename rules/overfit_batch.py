"""The model can learn one batch by heart when regularisation is off.

## What it checks

The first batch is trained on again and again, with dropout, weight decay and augmentation off, from the same weights,
at up to three learning rates until one succeeds. What counts is how much of the loss is left above the **floor**, the
lowest value that any model could reach (0 for hard labels, the entropy of smoothed or soft ones).

- *Fitted*: little is left, or nearly every class of the batch is predicted.
- *Not fitted*: at no learning rate, and the loss no longer falls. That is an error: whatever the cause, it lies between
  input and loss, and more epochs will not mend it.
- *Still falling* when the steps ran out: not judged.

Losses without a known floor and models with fewer parameters than the batch has samples are not judged, and a batch in
which equal inputs have different targets gets a warning that says so.

## Why it matters

Networks fit even random labels (Zhang et al.). One that cannot fit 32 samples has a fault in its wiring or no capacity,
and this test takes seconds, a training run takes hours.

## Example

```python
self.net = nn.Sequential(nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 2))    # one linear map, whatever its depth
```

## Fix

Work from the loss back to the input: other findings first where there are any, then activations between layers, what forward() throws
away, the width of the narrowest layer. Try it yourself:

```python
x, y = next(iter(train_loader))
for step in range(200):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
print(loss.item())     # should be close to 0
```

## Thresholds

- A loss without a known lowest value that falls to -100 times its first value (or below -100) has none; once it is near zero it is followed for 100 steps at ten times
  the rate. Negative log-likelihoods of densities are below zero too, by some ten times at most. An error beside a loss of torch that is never negative, else a warning.
- 10 % of the way left, or 99 % of the classes right, is fitted. With Adam at 0.001, small CNNs, a ResNet-18, a ViT-tiny
  and a small GPT get there in 18 to 105 steps. Without classes, half of the way is enough, as a narrow bottleneck may
  rightly keep a part.
- More than half of the way left and under 90 % right is not fitted; without classes, more than 80 % left. In between: a
  warning. The healthy pipelines measured leave at most 64 %, without classes.
- 5 % less than in the fifth of the steps before: still falling; between 2 % and 5 %, no more than a warning. A judgement.
- 30 steps in the longest try, below which nothing is said.

## References

- Andrej Karpathy, A Recipe for Training Neural Networks, "overfit one batch":
  <https://karpathy.github.io/2019/04/25/recipe/>
- Zhang et al., Understanding Deep Learning Requires Rethinking Generalization: <https://arxiv.org/abs/1611.03530>
- Goodfellow, Bengio, Courville, Deep Learning, section 11.5, "fit a tiny dataset":
  <https://www.deeplearningbook.org/contents/guidelines.html>
"""

from __future__ import annotations

import statistics

from trainlint.details import Line, Mark, Series
from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import Attempt, Overfit, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint.wording import number

FITTED = 0.1
FITTED_WITHOUT_CLASSES = 0.5
FITTED_ACCURACY = 0.99
NOT_FITTED = 0.5
NOT_FITTED_ACCURACY = 0.9
NOT_FITTED_WITHOUT_CLASSES = 0.8
STILL_FALLING, CREEPING = 0.05, 0.02
MIN_STEPS = 30
ENDLESS = 100.0
#: Losses of torch that are never below zero: beside one of these it is another term that falls without end.
NEVER_NEGATIVE = frozenset({
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
})  # fmt: skip

TRY_IT = """\
x, y = next(iter(train_loader))
for step in range(200):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
print(loss.item())  # should be close to 0"""


class OverfitBatch(Rule):
    """Judges how far a single batch could be learned by heart."""

    code = "TL301"
    name = "overfit-batch"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "The model can fit one batch perfectly"
    why = (
        "A network that cannot learn a single batch by heart has a fault between input and loss, or no capacity; more epochs will not help."
    )
    source = "Zhang et al., Understanding Deep Learning Requires Rethinking Generalization, https://arxiv.org/abs/1611.03530"
    requires = (Overfit, Parameters)
    blocked_by = ("non-finite", "no-gradient", "output-activation", "loss-shape", "input-finite")

    def judge(self, overfit: Overfit, parameters: Parameters) -> Verdict:
        """Judge the best attempt."""
        if not 0 <= overfit.best < len(overfit.attempts):
            return not_run("no attempt to fit one batch could be made")
        if overfit.unbounded and overfit.final < -ENDLESS * max(abs(overfit.initial), 1.0):
            return _endless(overfit)
        if overfit.unbounded:
            return not_run("this loss has no known lowest value, so it cannot be said when a batch is fitted")
        best = overfit.attempts[overfit.best]
        steps = max(len(a.losses) for a in overfit.attempts) - 1  # the first loss comes before any
        score = f" ({overfit.accuracy:.0%} of its classes right)" if overfit.accuracy is not None else ""
        seen = (
            f"from {overfit.initial:.3g} to {overfit.final:.3g} in {len(best.losses) - 1} steps with {best.optimizer} at {best.lr:g}{score}"
        )
        if _fitted(overfit):
            message = f"One batch of {overfit.batch_size} can be fitted: the loss went {seen}."
            return passed(message, evidence=_evidence(overfit), details=_curves(overfit))
        if overfit.conflicting:
            return _conflict(overfit)
        learnable = sum(p.size for p in parameters.parameters if p.requires_grad)
        if 0 < learnable < overfit.batch_size:
            return not_run(f"{learnable} trainable parameters are too few for {overfit.batch_size} samples: the loss went {seen}")
        if overfit.cut_short:
            return not_run(f"the budget ended after {steps} steps on one batch, {_rates(overfit)} tried; the loss went {seen}")
        if steps + 1 < MIN_STEPS:
            return not_run(f"only {steps} steps on one batch fitted into the budget; the loss went {seen}")
        if _falling(best):
            return not_run(f"the loss of one batch was still falling when its steps ran out: it went {seen}")
        severity = Severity.ERROR if _clearly_not(overfit) and not _falling(best, CREEPING) else Severity.WARNING
        tried = ", ".join(f"{a.lr:g}" for a in overfit.attempts)
        return failed(
            f"One batch of {overfit.batch_size} cannot be fitted: the loss went {seen} and stays there (learning rates tried: {tried}).",
            severity=severity,
            evidence=_evidence(overfit),
            location=overfit.where,
            fix=Fix(
                summary="Where other rules found something, mend that first. Else look for missing activations between layers, input that "
                "forward() throws away, targets that belong to other inputs, and a layer too narrow to carry the answer.",
                code=TRY_IT,
            ),
            details=_curves(overfit),
        )


def _endless(overfit: Overfit) -> Verdict:
    best = overfit.attempts[overfit.best]
    return failed(
        f"This loss seems to have no lowest value: on one batch of {overfit.batch_size} it goes from {overfit.initial:.3g} to {overfit.final:.3g} in "
        f"{len(best.losses) - 1} steps. One of its terms can be lowered without end, as with a wrong sign, and will drown the others.",
        severity=Severity.ERROR if overfit.kind in NEVER_NEGATIVE else Severity.WARNING,
        evidence=_evidence(overfit)
        | {"measured": overfit.final, "expected": overfit.floor, "threshold": -ENDLESS * max(abs(overfit.initial), 1.0)},
        location=overfit.endless_where or overfit.where,
        fix=Fix(
            summary="Print each term as it trains; a divergence, a distance or a penalty is added, never taken away.",
            code="kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())  # never below 0\nloss = reconstruction + kl",
        ),
        details=_curves(overfit),
    )


def _rates(overfit: Overfit) -> str:
    return f"{len(overfit.attempts)} learning rate{'s' if len(overfit.attempts) > 1 else ''}"


def _fitted(overfit: Overfit) -> bool:
    above = overfit.initial - overfit.floor
    if above <= FITTED * max(abs(overfit.initial), 1e-12):
        return True  # nothing was left to learn, as with loaded weights
    if overfit.accuracy is None:
        return overfit.reached <= FITTED_WITHOUT_CLASSES
    return overfit.reached <= FITTED or overfit.accuracy >= FITTED_ACCURACY


def _clearly_not(overfit: Overfit) -> bool:
    if overfit.accuracy is None:
        return overfit.reached > NOT_FITTED_WITHOUT_CLASSES
    return overfit.reached > NOT_FITTED and overfit.accuracy < NOT_FITTED_ACCURACY


def _falling(attempt: Attempt, share: float = STILL_FALLING) -> bool:
    """Whether the last fifth of the steps is lower than the fifth before it by this share."""
    fifth = max(len(attempt.losses) // 5, 1)
    before, last = attempt.losses[-2 * fifth : -fifth], attempt.losses[-fifth:]
    return bool(before) and statistics.fmean(last) < (1 - share) * statistics.fmean(before)


def _conflict(overfit: Overfit) -> Verdict:
    return failed(
        f"{overfit.conflicting} of {overfit.batch_size} samples in the batch have the same input as another one but a different target, "
        f"so no model can fit them all (the loss stays at {overfit.final:.3g}).",
        severity=Severity.WARNING,
        evidence=_evidence(overfit) | {"measured": overfit.conflicting, "expected": 0, "threshold": 1},
        location=overfit.where,
        fix=Fix(
            summary="Check that what tells the samples apart reaches the model, and that each target belongs to its input.",
            code="for a, b in zip(x, y):\n    print(a.flatten()[:8], b)",
        ),
        details=_curves(overfit),
    )


def _evidence(overfit: Overfit) -> dict[str, Json]:
    return {
        "measured": overfit.reached,
        "expected": 0,
        "threshold": FITTED_WITHOUT_CLASSES if overfit.accuracy is None else FITTED,
        "initial": overfit.initial,
        "final": overfit.final,
        "floor": overfit.floor,
        "accuracy": overfit.accuracy,
        "loss": overfit.kind,
    }


def _curves(overfit: Overfit) -> tuple[Series, ...]:
    lines = tuple(
        Line(name=f"{a.optimizer}, lr {number(a.lr)}", x=tuple(float(i) for i in range(len(a.losses))), y=a.losses)
        for a in overfit.attempts
    )
    positive = all(loss > 0 for a in overfit.attempts for loss in a.losses)
    floor = (Mark(label="lowest possible", y=overfit.floor),) if overfit.floor > 0 else ()
    return (Series(title="One batch, again and again", x_label="step", y_label="loss", lines=lines, log_y=positive, marks=floor),)
