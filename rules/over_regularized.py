"""Regularisation slows learning down, but does not stop it.

## What it checks

The first steps are replayed as configured, and again from the same weights on the same batches with dropout, stochastic
depth, weight decay and label smoothing switched off. Both are then compared on the same loss, with all of it off, so
that a loss which is only less noisy does not count.

- **Warning**: the free run learns at least four times as much in the same steps, and stands after a quarter of them
  where the configured one ends. The single regulariser that makes the most of the difference is named, when there are
  several.
- **Note**: the same of augmentation, since a model may only start later under it than 80 steps show. Where training
  samples change with each reading and a copy of their dataset can read them as the validation data is read (with its
  transform, its flags, its amounts), one run sees the samples augmented and one sees them plain, in the same order from
  the same weights. Both are compared on other training samples, read plainly. Augmentation in the loop itself, after the
  loader, is not taken away.

Half as many steps settle it when they learn more than a quarter of the loss, or more than a quarter of them do without
regularisation. Where little is learned in 32 steps, both are run for 80. Passed when the free run learns less than 10 %
of the loss: then the difference says nothing yet.

## Why it matters

Regularisation trades fit for generalisation, and only pays where there is a fit. A model that is held back from the
first step underfits, and looks like one that is too small or has the wrong learning rate.

## Example

```python
head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.95), nn.Linear(256, 10))
```

## Fix

```python
head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 10))
```

First fit the training data, then regularise as much as validation rewards. Augment so that the object can still be told
by eye: look at the pictures of `batch-view`.

## Thresholds

- Four times, in 32 steps. Measured: a CNN for digits with two dropouts of 0.5 learned 1.1 (SGD) to 1.7 times (Adam) as
  much without them, a transformer with dropout of 0.1 to 0.6 learned 1.0 to 1.3 times as much. AdamW's decay of 0.1 made
  no difference, its decay of 10 a factor of 1.6. The same CNN with dropouts of 0.8 learned 15 times as much without.

## References

- Karpathy, A Recipe for Training Neural Networks (overfit, then regularise): <https://karpathy.github.io/2019/04/25/recipe/>
- Srivastava et al., Dropout: <https://jmlr.org/papers/v15/srivastava14a.html>
- Loshchilov and Hutter, Decoupled Weight Decay Regularization: <https://arxiv.org/abs/1711.05101>
"""

from __future__ import annotations

from trainlint.details import Line, Series
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import Regulariser, ShortRun, ShortRuns
from trainlint.rule import Rule, Verdict, failed, not_run, passed

FASTER = 4.0
LEARNED = 0.1

_MILDER = {
    "dropout": ("Drop less: 0.1 to 0.5 is usual, and nothing at first.", "nn.Dropout(0.1)"),
    "drop path": ("Drop fewer branches: 0.1 to 0.3 is usual for networks of ordinary depth.", "drop_path_rate=0.1"),
    "weight decay": (
        "Decay less, and decoupled from the gradient.",
        "optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)",
    ),
    "label smoothing": ("Smooth by 0.1 or less.", "criterion = nn.CrossEntropyLoss(label_smoothing=0.1)"),
}


class OverRegularized(Rule):
    """Compares learning with and without regularisation."""

    code = "TL505"
    name = "over-regularized"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "Regularisation leaves the model able to learn"
    why = "A model that is held back from its first step on underfits, whatever its size and learning rate."
    source = "Karpathy, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
    requires = (ShortRuns,)
    blocked_by = ("non-finite", "no-gradient", "loss-shape", "output-activation", "overfit-batch", "train-mode")

    def judge(self, runs: ShortRuns) -> Verdict:
        """Compare what was learned in the same steps, on the same loss."""
        verdict = self._of_the_step(runs)
        return verdict if verdict.kind == "fail" else _augmented(runs) or verdict

    def _of_the_step(self, runs: ShortRuns) -> Verdict:
        """What the step itself holds: dropout, decay, smoothing."""
        if not runs.regularisers:
            return passed("Nothing regularises the recorded step.")
        own = runs.run("configured, longer") or runs.run("configured")
        free = runs.run("free, longer") or runs.run("free")
        if own is None or own.diverged or not own.clean or (free is not None and (free.diverged or not free.clean)):
            return not_run("the steps could not be replayed to their end with and without regularisation")
        if free is None or len(free.clean) < len(own.clean):
            return _early(runs, own, free)
        gained, possible = runs.initial - own.clean[-1], runs.initial - free.clean[-1]
        steps = len(own.losses)
        named = ", ".join(f"{r.kind} {r.strength:g}" for r in runs.regularisers)
        evidence = _evidence(runs, gained, possible)
        if possible <= LEARNED * abs(runs.initial):
            return passed(f"Too little is learned in {steps} steps even without regularisation ({named}) to tell.", evidence=evidence)
        if not _is_far_faster(free, own, runs.initial, runs.checks):
            return passed(
                f"With {named} the first {steps} steps learn {max(gained, 0) / possible:.0%} of what they learn without.",
                evidence=evidence,
                details=_curves(runs, own, free),
            )
        return _failure(runs, own, free, evidence)


def _is_far_faster(free: ShortRun, own: ShortRun, initial: float, checks: tuple[int, ...]) -> bool:
    """Whether one run learns four times as much as another, and is after a quarter of the steps where the other ends."""
    early = [c for c, at in zip(free.clean, checks, strict=False) if at <= len(own.losses) / FASTER]
    return (initial - own.clean[-1]) * FASTER <= initial - free.clean[-1] and bool(early) and min(early) <= own.clean[-1]


def _augmented(runs: ShortRuns) -> Verdict | None:
    """The failure of augmentation that hides what there is to learn; None when it leaves enough, or cannot be taken away."""
    found = runs.augmentation
    own, free = (found.augmented, found.plain) if found is not None else (None, None)
    if found is None or own is None or free is None or own.diverged or free.diverged or not own.clean or len(free.clean) < len(own.clean):
        return None
    possible = found.initial - free.clean[-1]
    if possible <= LEARNED * abs(found.initial) or not _is_far_faster(free, own, found.initial, found.checks):
        return None
    by = f" by {', '.join(found.transforms)}" if found.transforms else ""
    return failed(
        f"On samples augmented{by}, {len(own.losses)} steps bring the loss on other, plain samples from {found.initial:.3g} to "
        f"{own.clean[-1]:.3g}; on the same samples read as the validation data is, to {free.clean[-1]:.3g}.",
        severity=Severity.NOTE,
        evidence={"measured": found.initial - own.clean[-1], "without": possible, "threshold": FASTER, "culprit": "augmentation"},
        location=found.where,
        fix=Fix(
            summary="Augment less, until the object can still be told by eye: milder amounts first, then one transform after the other.",
            code="transforms.RandomResizedCrop(32, scale=(0.5, 1.0))",
        ),
        details=(_lines("Loss on plain samples, by how it was trained", found.initial, found.checks, ("augmented", own), ("plain", free)),),
    )


def _early(runs: ShortRuns, own: ShortRun, free: ShortRun | None) -> Verdict:
    """Nothing four times as fast: most of the loss was learned with regularisation, or a quarter of the steps without it got less far."""
    steps, gained = len(own.losses), runs.initial - own.clean[-1]
    named = ", ".join(f"{r.kind} {r.strength:g}" for r in runs.regularisers)
    learned = f"With {named} the first {steps} steps learn {gained / runs.initial if runs.initial else 0:.0%} of the loss"
    if gained * FASTER > runs.initial:
        return passed(f"{learned}.", evidence=_evidence(runs, gained, None))
    if free is None or min(free.clean) <= own.clean[-1]:
        return not_run("the steps could not be replayed to their end with and without regularisation")
    message = f"{learned}; without regularisation the first {len(free.losses)} steps learn less than that."
    return passed(message, evidence=_evidence(runs, gained, runs.initial - min(free.clean)))


def _culprit(runs: ShortRuns) -> Regulariser:
    """The regulariser without which most is learned; the first when they were not tried one by one."""

    def reached(one: Regulariser) -> float:
        run = runs.run(f"without {one.kind}")
        return run.clean[-1] if run is not None and run.clean and not run.diverged else runs.initial

    return min(runs.regularisers, key=reached)


def _failure(runs: ShortRuns, own: ShortRun, free: ShortRun, evidence: dict[str, Json]) -> Verdict:
    culprit = _culprit(runs)
    others = " (mostly its doing)" if len(runs.regularisers) > 1 else ""
    words, code = _MILDER[culprit.kind]
    return failed(
        f"With {culprit.kind} {culprit.strength:g}{others}, {len(own.losses)} steps bring the clean loss from {runs.initial:.3g} to "
        f"{own.clean[-1]:.3g}; without regularisation the same steps bring it to {free.clean[-1]:.3g}.",
        severity=Severity.WARNING,
        evidence=evidence | {"culprit": culprit.kind, "strength": culprit.strength},
        location=culprit.where,
        fix=Fix(summary=words, code=code, edit=Edit(kind="dropout", values={"p": 0.2}) if culprit.kind == "dropout" else None),
        details=_curves(runs, own, free),
    )


def _evidence(runs: ShortRuns, gained: float, possible: float | None) -> dict[str, Json]:
    return {
        "measured": gained,
        "without": possible,
        "threshold": FASTER,
        "regularisers": {r.kind: r.strength for r in runs.regularisers},
    }


def _curves(runs: ShortRuns, own: ShortRun, free: ShortRun) -> tuple[Series, ...]:
    named = ("as configured", own), ("without", free)
    return (_lines("Loss with regularisation off, by how it was trained", runs.initial, runs.checks, *named),)


def _lines(title: str, initial: float, checks: tuple[int, ...], *runs: tuple[str, ShortRun]) -> Series:
    lines = tuple(Line(name=name, x=(0.0, *map(float, checks[: len(r.clean)])), y=(initial, *r.clean)) for name, r in runs)
    return Series(title=title, x_label="step", y_label="loss", lines=lines)
