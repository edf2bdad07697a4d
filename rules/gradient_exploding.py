"""Finds gradients that grow without bound, along depth, over time or from step to step.

## What it checks

- **Error**: the total gradient norm grew more than a thousandfold over the recorded steps and was still growing.
- **Warning**: the first layers' gradients are more than a thousand times the largest of the last (root mean square), so the gradient
  grows on its way back.
- **Warning**: at the first step of an untrained model, the total norm is more than a thousand times the loss itself, so the smallest
  change of the weights changes the loss by more than there is.

When the gradient is clipped at every step, its size is taken care of, and the rule passes. Sum-reduced losses have large gradients and
a large loss alike, and pass. Growth is not judged when several optimizers take turns.

## Why it matters

A step is the learning rate times the gradient. One explosion throws the weights so far away that all that was learned is lost, and
often the next loss is NaN.

## Example

```python
rnn = nn.RNN(input_size=1, hidden_size=64)
nn.init.orthogonal_(rnn.weight_hh_l0, gain=2.0)     # the gradient doubles with every time step
```

## Fix

Keep the recurrent or residual gain at 1 or below, and clip the norm; for recurrent networks always.

```python
nn.init.orthogonal_(rnn.weight_hh_l0)
torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
```

## Thresholds

- A thousand times along depth: calibrated over 20 sound networks, whose largest ratio was 7; a tanh RNN over 64 steps with gain 2 has
  20,000.
- A thousand times the loss: in 30 sound networks the largest was 38 (EfficientNet-B0); that RNN has 3,200.
- A thousandfold growth within the recorded steps: the largest sound one was 4.

## References

- Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks: https://arxiv.org/abs/1211.5063
- PyTorch, clip_grad_norm_: https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainlint.details import Line, Series
from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import Loop, Loss, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

from .gradient_vanishing import networks_by_depth, starts_at_zero

#: Median gradient of the first layers over the largest of the last.
DEPTH = 1e3
#: Total gradient norm over the loss, at the first step.
OVER_LOSS = 1e3
#: Growth of the total norm over the recorded steps, and the steps it must be seen in.
GROWTH, GROWTH_STEPS = 1e3, 4

_FIX = Fix(
    summary="Clip the gradient norm before the step, and lower the recurrent or residual gain, or the learning rate.",
    code="loss.backward()\ntorch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)\noptimizer.step()",
)


class GradientExploding(Rule):
    """Gradients that grow without bound."""

    code = "TL308"
    name = "gradient-exploding"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Gradients stay of the same order along depth and over the steps"
    why = "A step is the learning rate times the gradient: one explosion throws away what was learned, and often ends in NaN."
    source = "Pascanu, Mikolov and Bengio 2013: https://arxiv.org/abs/1211.5063"
    requires = (Parameters, Loop, Loss)
    judges_loop = True
    blocked_by = ("no-gradient", "non-finite")

    def judge(self, parameters: Parameters, loop: Loop, loss: Loss) -> Verdict:
        """Look at growth over steps, over depth, and at the norm against the loss."""
        norms = tuple(norm for norm in parameters.total_norms if math.isfinite(norm))
        if not norms:
            return not_run("no finite gradient norm was recorded")
        series = _series(norms)
        taken = [step for step in loop.steps if not step.skipped]
        if taken and all(step.clipped is not None for step in taken):
            return passed(
                f"The gradient norm was {max(norms):.2g} at most, before the clipping that each step has.",
                evidence={"measured": max(norms)},
                details=(series,),
            )
        if loop.stepped_optimizers <= 1 and _grows(norms):
            return failed(
                f"The gradient norm grew from {norms[0]:.2g} to {norms[-1]:.2g} in {len(norms)} steps and is still growing.",
                severity=Severity.ERROR,
                evidence={"measured": norms[-1] / norms[0], "expected": 1.0, "threshold": GROWTH},
                location=taken[0].where if taken else parameters.model_where,
                fix=_FIX,
                details=(series,),
            )
        depths = [depth for depth in networks_by_depth(parameters) if not starts_at_zero(parameters, depth)]
        steepest = max(depths, key=lambda depth: depth.growth, default=None)
        if steepest and steepest.growth > DEPTH:
            return failed(
                f"Gradients grow {steepest.growth:,.0f} times on their way from the last layers to the first, and nothing clips them.",
                severity=Severity.WARNING,
                evidence={"measured": steepest.growth, "expected": 1.0, "threshold": DEPTH},
                location=parameters.model_where,
                fix=_FIX,
                details=(steepest.bars(),),
            )
        first = abs(loss.first) * max(1, loop.accumulation)
        comparable = loss.at_init and loss.calls and loss.optimizers <= 1 and first > 0.0
        if comparable and norms[0] > OVER_LOSS * first:
            return failed(
                f"At the first step the gradient norm is {norms[0]:,.0f}, {norms[0] / first:,.0f} times the loss of {loss.first:.3g}, "
                "and nothing clips it.",
                severity=Severity.WARNING,
                evidence={"measured": norms[0] / first, "threshold": OVER_LOSS, "norm": norms[0]},
                location=parameters.model_where,
                fix=_FIX,
                details=(series,),
            )
        return passed(
            f"The gradient norm went from {norms[0]:.2g} to {norms[-1]:.2g} in {len(norms)} steps.",
            evidence={"measured": max(norms) / norms[0] if norms[0] else 1.0, "threshold": GROWTH},
            details=(series,),
        )


def _grows(norms: Sequence[float]) -> bool:
    rising = len(norms) >= GROWTH_STEPS and norms[-3] < norms[-2] < norms[-1]
    return rising and norms[0] > 0.0 and norms[-1] > GROWTH * norms[0]


def _series(norms: Sequence[float]) -> Series:
    return Series(
        title="Gradient norm, before clipping",
        x_label="step",
        y_label="norm",
        lines=(Line(name="all parameters", x=tuple(float(i + 1) for i in range(len(norms))), y=tuple(norms)),),
        log_y=True,
    )
