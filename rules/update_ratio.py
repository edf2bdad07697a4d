"""Compares the size of real updates with the size of the weights.

## What it checks

The change that each optimizer step really made to each weight matrix, over the matrix's own norm, as a median over the recorded steps.

- **Warning, too small**: nine tenths of the matrices move by less than 1e-5 of themselves (1e-6 when weights were loaded), so that it
  takes a hundred thousand steps to change them. While a schedule warms up, the ratio is scaled to the learning rate it warms up to.
- **Warning, too large**: half of the matrices move by more than 0.3 of themselves at each step.

Norms, biases, embeddings, matrices that start at zero or close to it, and LBFGS (which searches along a line) are left out, and so are small updates
before a layer that starts at zero: no gradient passes it at first. The first steps of Adam are no fault either: its updates have the
size of the learning rate from the first step, and 1e-3 on weights of 0.02 is a sound 0.05.

## Why it matters

The ratio says in one number whether the learning rate fits the scale of the weights. Around 1e-3 is usual; far below, nothing happens,
far above, each step forgets the last.

## Example

```python
optimizer = torch.optim.Adam(model.parameters(), lr=1e-8)    # meant eps
```

## Fix

Raise the learning rate to where the ratio is near 1e-3, or lower it tenfold and look again. `lr-range` looks for the rate by trying; where it
fails as well, its value is the one to take.

```python
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
```

## Thresholds

- 1e-3 is Karpathy's rule of thumb (CS231n): clearly higher or lower points at the learning rate.
- 1e-5 for the fastest tenth and 0.3 for the median: calibrated over 30 sound networks with AdamW at 1e-3 and SGD at 0.1, whose fastest
  tenth lay between 2e-4 and 0.35 and whose median was 0.11 at most.
- Close to zero: a root mean square below 3 % of 1/√(inputs), the scale that keeps a signal's. The 0.02 of transformers is 30 % of that or
  more; recommenders start at 1e-4, where any step is many times the weight and says nothing of the rate.
- 1e-6 under loaded weights: fine-tuning uses learning rates down to 1e-6 on weights of about 0.02.

## References

- CS231n, Neural Networks Part 3, Ratio of weights:updates: https://cs231n.github.io/neural-networks-3/#ratio
- Karpathy, A Recipe for Training Neural Networks: https://karpathy.github.io/2019/04/25/recipe/
- Kingma and Ba 2015, Adam (section 2.1: the step is bounded by the learning rate): https://arxiv.org/abs/1412.6980
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from trainlint.details import Bars, Mark
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import OptimizerInfo, Optimizers, ParameterInfo, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Karpathy's rule of thumb.
USUAL = 1e-3
#: The fastest tenth of the matrices below this: too small. Divided by ten when weights were loaded.
SMALL, PRETRAINED = 1e-5, 0.1
#: The median above this: too large.
LARGE = 0.3
#: Then the learning rate is first lowered to this share of it.
FIRST_STEP = 0.1
#: Weights below this share of the scale that keeps a signal's start close to zero.
NEAR_ZERO = 0.03
#: Matrices needed to call updates too large: a single convex layer forgives much.
FEWEST = 2


class UpdateRatio(Rule):
    """Updates out of proportion to the weights."""

    code = "TL310"
    name = "update-ratio"
    stage = Stage.GRADIENTS
    severity = Severity.WARNING
    summary = "Each step changes the weights by a sound fraction of themselves"
    why = "Around a thousandth a step is usual; far below nothing happens, far above each step forgets the last."
    source = "CS231n, Ratio of weights:updates: https://cs231n.github.io/neural-networks-3/#ratio"
    requires = (Parameters, Optimizers)
    blocked_by = ("no-gradient", "loop-order", "params-not-optimized", "grad-clip", "non-finite")

    def judge(self, parameters: Parameters, optimizers: Optimizers) -> Verdict:
        """Judge the network of each optimizer; the first that is clearly outside is told."""
        least = SMALL * (PRETRAINED if parameters.pretrained else 1.0)
        said = []
        for optimizer in optimizers.optimizers:
            mine = [p for p in parameters.parameters if p.optimizer == optimizer.index]
            matrices = [p for p in mine if _counts(p)]
            held_back = any(p.zero_init and not p.norm_or_bias for p in mine)
            if not matrices or optimizer.kind == "LBFGS":
                continue
            ratios = [_at_full_rate(p, optimizer, optimizers) for p in matrices]
            measured = [p.update_ratio or 0.0 for p in matrices]
            fastest = sorted(ratios)[-1 - len(ratios) // 10]
            middle = statistics.median(measured)
            if fastest < least and held_back:
                continue
            if fastest < least:
                return _outside(optimizer, matrices, ratios, fastest, threshold=least)
            if middle > LARGE and len(matrices) >= FEWEST:
                return _outside(optimizer, matrices, measured, middle, threshold=LARGE)
            said.append((middle, matrices, measured))
        if not said:
            return not_run(
                "no weight matrix was updated at a learning rate above zero, with gradients that no zero-initialised layer holds back"
            )
        middle, matrices, measured = said[0]
        return passed(
            f"A step changes the median weight matrix by {middle:.1g} of itself.",
            evidence={"measured": middle, "expected": USUAL, "threshold": LARGE},
            details=(_bars(matrices, measured, ()),),
        )


def _counts(parameter: ParameterInfo) -> bool:
    return (
        parameter.update_ratio is not None
        and parameter.requires_grad
        and parameter.gradient in ("finite", "zero")
        and not parameter.norm_or_bias
        and not parameter.zero_init
        and not _near_zero(parameter)
        and not parameter.module_kind.startswith("Embedding")
        and parameter.lr != 0.0
    )


def _near_zero(parameter: ParameterInfo) -> bool:
    inputs = math.prod(parameter.shape[1:]) or 1
    return 0.0 < parameter.weight_norm * math.sqrt(inputs / max(1, parameter.size)) < NEAR_ZERO


def _at_full_rate(parameter: ParameterInfo, optimizer: OptimizerInfo, optimizers: Optimizers) -> float:
    """Scale the measured ratio to the highest learning rate that the settings lead to; a warm-up starts far below it."""
    ratio = parameter.update_ratio or 0.0
    if not parameter.lr:
        return ratio
    previews = [rate for scheduler in optimizers.schedulers if scheduler.optimizer == optimizer.index for rate in scheduler.preview]
    full = max([*previews, *(group.lr for group in optimizer.groups), parameter.lr])
    return ratio * full / parameter.lr


def _outside(
    optimizer: OptimizerInfo, matrices: Sequence[ParameterInfo], ratios: Sequence[float], value: float, *, threshold: float
) -> Verdict:
    small = value < USUAL
    rate = max((group.lr for group in optimizer.groups), default=0.0)
    who = "even its fastest weight matrices" if small else "the median weight matrix"
    order = USUAL / value if small and value else value / USUAL
    times = f"{order:,.0f} times {'less' if small else 'more'} than usual" if order else "not at all"
    # Sound networks reach 0.1, so how far down from too much is to be found in steps; a tenth is the first.
    wanted = None if not value else rate * USUAL / value if small else rate * FIRST_STEP
    at_fault = tuple(i for i, ratio in enumerate(ratios) if (ratio < threshold if small else ratio > threshold))
    return failed(
        f"A step of {optimizer.kind} (lr {rate:.2g}) changes {who} by {value:.1g} times the norm, {times}.",
        severity=Severity.WARNING,
        evidence={"measured": value, "expected": USUAL, "threshold": threshold, "lr": rate},
        location=optimizer.where,
        fix=Fix(
            summary="Raise the learning rate until the ratio is near 1e-3."
            if small
            else "Lower the learning rate tenfold, and again while the ratio stays above 0.1.",
            code=f"optimizer = torch.optim.{optimizer.kind}(model.parameters(), lr={wanted:.0e})" if wanted else "",
            edit=Edit(kind="learning-rate", values={"lr": wanted, "configured": rate}) if wanted else None,
        ),
        details=(_bars(matrices, ratios, at_fault),),
    )


def _bars(matrices: Sequence[ParameterInfo], ratios: Sequence[float], at_fault: tuple[int, ...]) -> Bars:
    return Bars(
        title="Update over weight, from input to output",
        value_label="|change| / |weight| a step",
        labels=tuple(p.name for p in matrices),
        values=tuple(ratios),
        log=True,
        marks=(Mark(label="usual", y=USUAL),),
        highlight=at_fault,
    )
