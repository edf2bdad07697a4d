"""The curves of a whole run have the shape of one that learned what it could.

## What it checks

The training loss, the validation loss and a metric from the first to the last logged step, as `trainlint curves` reads them from a log
of any maker or as a watched run wrote them. A scan of a few steps has no such curves, and does not run this rule.

- **Error**: *diverged* (the loss becomes NaN or infinite, or jumps up for good), *broken* (nothing moves from step zero on).
- **Warning**: *too-good* (near perfect from the first evaluation on), *overfit* (validation turns up for good), *oscillating*,
  *spikes* (a jump that is not recovered from, or several), *flat-then-drop*, *early-decay* (progress stops where the learning rate was
  taken down), *underfit*, *plateau*.
- **Note**: *still-improving*, *val-better*, a single spike that is recovered from.

Passed when the shape is *healthy*. Not run when there are fewer than three points, or no curve. What rests on fewer than eight values
of a curve is a hint: an error becomes a warning, a warning a note. A loss that ends as NaN, or is constant to the third digit, needs no more.

## Why it matters

The shape says what to change next, and it costs nothing to read. A run that is diagnosed by eye is often diagnosed from a plot that
was scaled to look like a fall.

## Example

```python
for epoch in range(300):  # far beyond the minimum of the validation loss
    train(model, loader)
```

## Fix

```python
best = float("inf")
for epoch in range(300):
    train(model, loader)
    loss = evaluate(model, val_loader)
    if loss < best:
        best = loss
        torch.save(model.state_dict(), "best.pt")
```

Each shape has its own first action, which the finding says.

## Thresholds

A curve is reduced to at most 60 levels, the medians of equal stretches; its noise is their median second difference. Trends are judged by
Theil and Sen's slope and Kendall's test (p < 0.05).

- *overfit*: the validation loss ends 5 % above its minimum, beyond twice its noise, with a rising trend since; under 25 %, only when the
  metric worsens too, or without a metric when a tenth of the fall is lost again.
- *diverged*: the level rises again by a third of all it fell, beyond eight times its noise and within two stretches; or the training loss
  ends above its start, by a tenth beyond three times its noise or a quarter beyond twice it, while validation and metric do not improve.
- *broken*: constant to the third digit, or no trend of 2 % of the level.
- *spikes*: 1.5 times the level before, beyond seven times the noise of single steps.
- *oscillating*: the validation loss swings by 20 % of its level over the last two fifths, or the training loss, which may be of single
  batches, by 35 %, without a trend; and by 5 % of all it fell (20 % where values may be of single batches), for near zero every swing is
  large beside its level.
- *flat-then-drop*: a fifth of the run, and 200 steps where the log counts steps, brings less than a quarter of the fall.
- *plateau*: half of the run flat where the learning rate is logged and stays up, three quarters where it is not logged; not where the
  training loss of single batches is down to a quarter and what is left is a good part noise.
- *still-improving*: the last quarter brings two fifths of what a straight line would.

Chosen on 57 public logs that were labelled by eye, all of whose labels or accepted second labels are met; with every second point left
out, the last twentieth cut off, or noise of 1 % added, 88 to 95 % still are. On made curves with noise, at scales from 0.01 to 100, healthy
ones (small classifiers of a few hundred steps, SGD to zero loss, cosine tails, warm-up, restarts, one-cycle, step decay, batch noise) are called healthy.

## References

- Google, Interpreting loss curves: <https://developers.google.com/machine-learning/crash-course/overfitting/interpreting-loss-curves>
- Karpathy, A Recipe for Training Neural Networks: <https://karpathy.github.io/2019/04/25/recipe/>
- Godbole et al., Deep Learning Tuning Playbook: <https://github.com/google-research/tuning_playbook>
"""

from __future__ import annotations

from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import CurveRun, Curves
from trainlint.rule import Rule, Verdict, failed, not_run, passed

_ERRORS = ("diverged", "broken")
_WARNINGS = ("too-good", "overfit", "oscillating", "spikes", "flat-then-drop", "early-decay", "underfit", "plateau")
_NOTES = ("still-improving", "val-better")
_UNKNOWN = ("too-short", "not-a-curve")


class CurveShape(Rule):
    """Judges the curves of whole runs by their shape."""

    code = "TL601"
    name = "curve-shape"
    stage = Stage.CURVES
    severity = Severity.ERROR
    summary = "The curves of the whole run show no fault"
    why = "The shape of the curves says what to change next, before anything is tuned."
    source = (
        "Google, Interpreting loss curves, https://developers.google.com/machine-learning/crash-course/overfitting/interpreting-loss-curves"
    )
    requires = (Curves,)

    def judge(self, curves: Curves) -> Verdict:
        """Take the worst run's shape as the verdict."""
        known = [run for run in curves.runs if run.shape not in _UNKNOWN]
        if not known:
            reasons = "; ".join(run.summary for run in curves.runs[:3])
            return not_run(reasons or "the log has no runs")
        worst = min(known, key=_rank)
        severity = _severity(worst)
        if severity is None:
            said = worst.summary if len(known) == 1 else f"{len(known)} runs, all healthy."
            return passed(said or "The curves show no fault.", evidence=dict(worst.evidence), details=worst.charts)
        of = f" ({worst.name})" if worst.name else ""
        others = sum(_severity(run) is not None for run in known) - 1
        more = f" {others} more run{'s show' if others > 1 else ' shows'} a fault." if others else ""
        return failed(
            f"{worst.shape.capitalize()}{of}: {worst.summary}{more}",
            severity=severity,
            evidence={"shape": worst.shape, **worst.evidence},
            fix=Fix(summary=worst.first_action or "Look at the curve."),
            details=worst.charts,
        )


def _severity(run: CurveRun) -> Severity | None:
    """How bad a shape is, one degree less where few values say so; None for a healthy one."""
    hint = bool(run.evidence.get("few_points"))
    if run.shape in _ERRORS:
        return Severity.WARNING if hint else Severity.ERROR
    if run.shape == "spikes" and run.evidence.get("count") == run.evidence.get("recovered") == 1:
        return Severity.NOTE
    if run.shape in _WARNINGS:
        return Severity.NOTE if hint else Severity.WARNING
    return Severity.NOTE if run.shape in _NOTES else None


def _rank(run: CurveRun) -> tuple[int, int]:
    severity = _severity(run)
    order = (*_ERRORS, *_WARNINGS, *_NOTES)
    return (3 if severity is None else severity.rank, order.index(run.shape) if run.shape in order else len(order))
