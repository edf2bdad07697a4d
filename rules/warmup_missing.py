"""The first steps do not need a warm-up, or have one.

## What it checks

A model that is trained from scratch, without a warm-up in its schedule. Its first steps are replayed at the configured
rate from step one, and again with the rate rising over the first half. It is a **warning** when, at the full rate,

- the loss rises to 1.2 times its start (or the gradient grows tenfold, or the loss diverges), and nothing has been
  learned at the end,

while the warmed-up run rises by no more than 10 % and has learned at least 10 % of its loss, after as many steps at the
full rate. Anything less is an opinion, and passes. Attention with the norm after the residual sum is where it happens
most, and is said so; but what was measured decides.

It is a **warning**, too, when a Hugging Face `Trainer` is told of a warm-up (`warmup_steps`, `warmup_ratio`) and of a schedule that knows none
(`lr_scheduler_type="constant"`), so that the first steps have the full rate although another was asked for; a **note** where the weights are
pretrained.

## Why it matters

Adam's first steps are full-sized whatever the gradient, and are taken before its averages mean anything. A transformer
with norms after the sums has its largest gradients then. What the first steps break, later ones may never mend.

## Example

```python
optimizer = torch.optim.Adam(transformer.parameters(), lr=3e-3)
```

## Fix

```python
optimizer = torch.optim.Adam(transformer.parameters(), lr=3e-3)
warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=500)
```

## Thresholds

- 1.2 × the first loss and nothing learned. Measured with Adam from step one on transformers of the post-norm kind: 8
  layers at 3e-3 rose to 1.45 times and 12 layers at 2e-3 to 1.22 times, and stood at chance after 32 steps; warmed up,
  they lost 57 % and 39 % of their loss in 64. 3 layers at 1e-3 did not rise. A pre-norm transformer at 1e-2 rose to 4 times and
  learned all the same, which passes.
- Tenfold gradient: Xiong et al. measure a spread of the same order between layers and steps without warm-up.
- A rate counts as warmed up to when it begins below half of its peak.

## References

- Xiong et al., On Layer Normalization in the Transformer Architecture: <https://arxiv.org/abs/2002.04745>
- Liu et al., On the Variance of the Adaptive Learning Rate and Beyond: <https://arxiv.org/abs/1908.03265>
- Goyal et al., Accurate, Large Minibatch SGD: <https://arxiv.org/abs/1706.02677>
"""

from __future__ import annotations

import math

from trainlint.details import Line, Mark, Series
from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import Optimizers, SchedulerInfo, ShortRun, ShortRuns
from trainlint.rule import Rule, Verdict, failed, passed

RISE = 1.2
GRADIENT = 10.0
CALM = 1.1
LEARNED = 0.9
PRETRAINED = 0.5


class WarmupMissing(Rule):
    """Compares the first steps at the full rate with the same after a warm-up."""

    code = "TL404"
    name = "warmup-missing"
    stage = Stage.LEARNING_RATE
    severity = Severity.WARNING
    summary = "The first steps bear the full learning rate, or are warmed up"
    why = "Steps of full size before the optimizer's averages mean anything can break a network so that it never recovers."
    source = "Xiong et al., On Layer Normalization in the Transformer Architecture, https://arxiv.org/abs/2002.04745"
    requires = (ShortRuns, Optimizers)
    blocked_by = ("non-finite", "no-gradient", "loss-shape", "output-activation", "overfit-batch")

    def judge(self, runs: ShortRuns, optimizers: Optimizers) -> Verdict:
        """Only what a warm-up measurably mends is a failure, or one that was asked for and is ignored."""
        ignored = next((s for s in optimizers.schedulers if s.ignored_warmup), None)
        if ignored is not None:
            return _ignored(ignored, runs)
        own, warm = runs.run("configured"), runs.run("warm-up")
        if own is None or own.warm_up:
            return passed(f"The learning rate rises from {runs.first:.2g} to {runs.configured:.2g}.")
        if runs.pretrained > PRETRAINED:
            return passed("The weights are pretrained; their learning rate is judged by finetune-lr.")
        rise, growth = _rise(own, runs.initial), _growth(own)
        evidence: dict[str, Json] = {
            "measured": rise if math.isfinite(rise) else None,
            "threshold": RISE,
            "gradient_growth": growth if math.isfinite(growth) else None,
            "gradient_threshold": GRADIENT,
            "attention": runs.attention,
            "post_norm": runs.post_norm,
        }
        broke = (rise >= RISE or growth >= GRADIENT) and not _learned(own, runs.initial)
        if warm is None or not broke:
            return passed(
                f"The first steps at the full learning rate of {runs.configured:g} do no harm: the loss "
                + (
                    f"rises to {rise:.2f} times its start at most, or comes down all the same."
                    if rise > 1
                    else "does not rise above its start."
                ),
                evidence=evidence,
            )
        if _rise(warm, runs.initial) > CALM or not _learned(warm, runs.initial):
            return passed(f"A warm-up changes nothing about the first steps at a learning rate of {runs.configured:g}.", evidence=evidence)
        return _failure(runs, own, warm, evidence)


def _ignored(scheduler: SchedulerInfo, runs: ShortRuns) -> Verdict:
    told, rate = scheduler.ignored_warmup, runs.configured
    length = f"{told:g} {'step' if told == 1 else 'steps'}" if told >= 1 else f"{told:.0%} of the run"
    return failed(
        f"A warm-up over {length} is asked for, but the schedule that the trainer builds ({scheduler.kind}) knows none: "
        f"the learning rate is {rate:g} from the first step.",
        severity=Severity.NOTE if runs.pretrained > PRETRAINED else Severity.WARNING,
        evidence={"measured": rate, "expected": 0.0, "threshold": 0, "warmup": told},
        location=scheduler.told_where or scheduler.where,
        fix=Fix(
            summary='Take a schedule that warms up, or leave out the warm-up: "constant" and "reduce_lr_on_plateau" ignore it.',
            code='TrainingArguments(..., lr_scheduler_type="constant_with_warmup")',
        ),
    )


def _rise(run: ShortRun, initial: float) -> float:
    """Highest clean loss over the first one."""
    if run.diverged or not run.clean:
        return math.inf
    return max(run.clean) / initial if initial > 0 else 0.0


def _growth(run: ShortRun) -> float:
    """Largest gradient over the first."""
    norms = run.gradient_norms
    return max(norms) / norms[0] if norms and norms[0] > 0 else 0.0


def _learned(run: ShortRun, initial: float) -> bool:
    return not run.diverged and bool(run.clean) and run.clean[-1] < LEARNED * initial


def _failure(runs: ShortRuns, own: ShortRun, warm: ShortRun, evidence: dict[str, Json]) -> Verdict:
    course = (
        "the loss diverges"
        if own.diverged
        else f"the loss rises from {runs.initial:.3g} to {max(own.clean):.3g} and ends at {own.clean[-1]:.3g}"
    )
    kind = "attention with norms after the sums" if runs.post_norm else "attention" if runs.attention else "a network"
    return failed(
        f"{runs.optimizer} trains {kind} at its full learning rate of {runs.configured:g} from the first step: {course} "
        f"(gradient norm {own.gradient_norms[0]:.2g}, then up to {max(own.gradient_norms):.2g}). With the rate rising over {warm.warm_up} steps "
        f"the loss comes down to {warm.clean[-1]:.3g}.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=runs.where,
        fix=Fix(
            summary="Let the learning rate rise over the first few hundred steps, or train at a lower one.",
            code="warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=500)\n"
            "# in the loop, after optimizer.step():\nwarm_up.step()",
        ),
        details=_curves(runs, own, warm),
    )


def _curves(runs: ShortRuns, own: ShortRun, warm: ShortRun) -> tuple[Series, ...]:
    lines = tuple(
        Line(name=name, x=tuple(float(i) for i in range(len(r.losses))), y=r.losses)
        for name, r in (("full rate from the first step", own), (f"rising over {warm.warm_up} steps", warm))
    )
    return (Series(title="The first steps", x_label="step", y_label="loss", lines=lines, marks=(Mark(label="start", y=runs.initial),)),)
