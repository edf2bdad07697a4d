"""Pretrained weights are adapted, not overwritten.

## What it checks

When most of the trained weights were loaded, or trained earlier in the same script, the first steps are replayed from
them twice: at the configured learning rate, warmed up to if the script does so, and at a twentieth of it. Three things
together make a **warning**:

- the weight matrices move by more than 30 % of their own norm within these few steps;
- the loss on the recorded batches, regularisation off, first jumps at least 20 % above its start, which it does not at
  the low rate;
- at the end the low rate is ahead, although it had a twentieth of the way; or the weights moved by more than their own norm and the loss
  doubled: what was learned is gone then, however well the same batches are learned anew.

A run that goes on where another ended (the optimizer's state was loaded too) is no fine-tuning, and is not judged.

## Why it matters

A rate for random weights throws learned ones away in the first steps. The model then learns anew from the small data
set that was only meant to adapt it. Nothing crashes, and the result looks like a pretraining that was of no use.

## Example

```python
model.load_state_dict(torch.load("pretrained.pt"))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
```

## Fix

```python
optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
```

## Thresholds

- A twentieth: usual rates for fine-tuning lie 10 to 30 times below those for training from scratch (BERT: 2e-5 to 5e-5
  after 1e-4; ResNets: 0.01 to 0.001 after 0.1).
- 30 % moved and 20 % above the start, in 32 steps. Measured on a CNN for digits that is adapted to rotated ones by SGD
  with momentum: at 0.01 it moved by 10 % and at 0.03 by 29 %, without a jump; at 0.05 by 55 % with a jump of 10 %;
  at 0.1 by 128 % with a jump of 47 %. A transformer with AdamW at 3e-5 to 3e-3 moved by 0.3 % to 13 %, without a jump.

## References

- Howard and Ruder, Universal Language Model Fine-tuning for Text Classification: <https://arxiv.org/abs/1801.06146>
- Devlin et al., BERT, section 4: <https://arxiv.org/abs/1810.04805>
- Mosbach et al., On the Stability of Fine-tuning BERT: <https://arxiv.org/abs/2006.04884>
"""

from __future__ import annotations

import math

from trainlint.details import Line, Mark, Series
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import ShortRun, ShortRuns
from trainlint.rule import Rule, Verdict, failed, not_run, passed

MOSTLY = 0.5
MOVED = 0.3
JUMP = 1.2
NO_JUMP = 1.1
#: Of their norm, and of the first loss: nothing is left of weights that moved so far, however well new ones fit these few batches.
GONE, GREAT_JUMP = 1.0, 2.0


class FinetuneLearningRate(Rule):
    """Compares the configured rate with a gentle one on weights that have learned something."""

    code = "TL504"
    name = "finetune-lr"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "Pretrained weights are adapted, not overwritten"
    why = "A learning rate made for random weights throws the learned ones away in the first steps, and their pretraining with them."
    source = "Howard and Ruder, Universal Language Model Fine-tuning, https://arxiv.org/abs/1801.06146"
    requires = (ShortRuns,)
    blocked_by = ("non-finite", "no-gradient", "loss-shape", "output-activation")

    def judge(self, runs: ShortRuns) -> Verdict:
        """Three signs together: moved far, jumped, and behind the gentle run."""
        if runs.pretrained < MOSTLY:
            return passed("The weights are trained from scratch.")
        if runs.resumed:
            return passed("The optimizer's state was loaded with the weights: training goes on where it ended.")
        own, gentle = runs.run("configured"), runs.run("gentle")
        if own is None or gentle is None or own.moved is None or gentle.moved is None or not gentle.clean:
            return not_run("the steps on the pretrained weights could not be replayed")
        rise, calm = _rise(own, runs.initial), _rise(gentle, runs.initial)
        evidence = _evidence(runs, own, gentle, rise)
        behind = own.diverged or not own.clean or own.clean[-1] > gentle.clean[-1]
        gone = own.moved >= GONE and rise >= GREAT_JUMP
        if runs.initial > 0 and own.moved >= MOVED and rise >= JUMP and calm <= NO_JUMP and (behind or gone):
            return _failure(runs, own, gentle, evidence)
        return passed(
            f"At a learning rate of {runs.configured:g} the pretrained weights move by {own.moved:.1%} of their norm in {len(own.losses)} "
            f"steps{_highest(rise)}.",
            evidence=evidence,
            details=_curves(runs, own, gentle),
        )


def _highest(rise: float) -> str:
    if not math.isfinite(rise):
        return ", and the loss diverges"
    if rise <= 0:  # a loss that begins at or below zero has no such ratio
        return ""
    return f", and the loss rises to {rise:.2f} times its start at most" if rise > 1 else ", and the loss never rises above its start"


def _rise(run: ShortRun, initial: float) -> float:
    """Highest clean loss over the first one."""
    if run.diverged:
        return math.inf
    return max(run.clean, default=0.0) / initial if initial > 0 else 0.0


def _failure(runs: ShortRuns, own: ShortRun, gentle: ShortRun, evidence: dict[str, Json]) -> Verdict:
    steps = len(own.losses)
    course = (
        "the loss diverges"
        if own.diverged
        else f"the loss jumps from {runs.initial:.3g} to {max(own.clean):.3g} and ends at {own.clean[-1]:.3g}"
    )
    return failed(
        f"The weights came from {runs.pretrained_how}, but {runs.optimizer}'s learning rate of {runs.configured:g} overwrites them: in "
        f"{steps} steps they move by {own.moved or 0:.0%} of their norm and {course}; at {gentle.lr:.2g} they move by {gentle.moved or 0:.0%} "
        f"and it ends at {gentle.clean[-1]:.3g}.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=runs.where,
        fix=Fix(
            summary=f"Fine-tune at a tenth to a thirtieth of this rate, such as {gentle.lr:.2g}; a new head may have a group of its own with more.",
            code=f"optimizer = torch.optim.{runs.optimizer}(model.parameters(), lr={gentle.lr:.2g})",
            edit=Edit(kind="learning-rate", values={"lr": gentle.lr, "configured": runs.configured}),
        ),
        details=_curves(runs, own, gentle),
    )


def _evidence(runs: ShortRuns, own: ShortRun, gentle: ShortRun, rise: float) -> dict[str, Json]:
    return {
        "measured": own.moved,
        "threshold": MOVED,
        "gentle": gentle.moved,
        "jump": rise if math.isfinite(rise) else None,
        "jump_threshold": JUMP,
        "configured_lr": runs.configured,
        "gentle_lr": gentle.lr,
        "pretrained_share": runs.pretrained,
    }


def _curves(runs: ShortRuns, *shown: ShortRun) -> tuple[Series, ...]:
    lines = tuple(Line(name=f"lr {r.lr:.2g}", x=(0.0, *map(float, runs.checks[: len(r.clean)])), y=(runs.initial, *r.clean)) for r in shown)
    return (
        Series(
            title="Loss on the recorded batches", x_label="step", y_label="loss", lines=lines, marks=(Mark(label="start", y=runs.initial),)
        ),
    )
