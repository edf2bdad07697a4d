"""Checks that an adaptive optimizer does not get its weight decay as an L2 gradient.

## What it checks

`weight_decay` given to Adam, NAdam, RAdam, Adamax, RMSprop, Adagrad or Adadelta, which add it to the gradient. AdamW, and
optimizers that were told `decoupled_weight_decay=True`, shrink the weights directly and pass, as does SGD.

- **Warning**: a decay of 0.01 or more, or of 0.001 or more when its pull on the weights is stronger than the gradient of
  the loss in the first steps.
- **Note**: smaller values. 5e-4 with Adam is the usual recipe of graph networks and does no harm.
- Passed: below 1e-6, where it does nothing either way.

## Why it matters

An adaptive optimizer divides the gradient by its own size. What was meant as a gentle pull towards zero becomes part of
the gradient: where the loss has little to say, the step is a full-sized one towards zero, whatever the decay was; and
weights with large gradients are hardly decayed at all. With values made for AdamW it drowns the loss.

## Example

```python
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=0.05)
```

## Fix

```python
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
```

Values do not carry over: AdamW shrinks by `lr * weight_decay` a step, and 0.01 to 0.1 are common with it.

## Thresholds

- 0.01: the default of AdamW in PyTorch; from there on a value is one that decoupled decay is used with.
- 5e-4: Kipf and Welling, GCN. Decays up to 0.001 are noted only.
- Pull: the median over weight matrices of decay × |weight| / |gradient|; above 1 decay outweighs the loss.

## References

- Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019: https://arxiv.org/abs/1711.05101
- Kipf, Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017: https://arxiv.org/abs/1609.02907
- torch.optim.AdamW: https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html
"""

from __future__ import annotations

import statistics

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import OptimizerInfo, Optimizers, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: AdamW's default: a decay made for decoupled use.
DECOUPLED_DECAY = 0.01
#: Above the 5e-4 of graph networks: here the measured pull decides.
DOUBTFUL_DECAY = 1e-3
#: Below this a decay does nothing in any form.
NEGLIGIBLE_DECAY = 1e-6

COUPLED = ("Adam", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")


class CoupledWeightDecay(Rule):
    """Looks for weight decay in adaptive optimizers that add it to the gradient."""

    code = "TL501"
    name = "coupled-weight-decay"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "Weight decay acts on the weights, not through an adaptive optimizer's gradient"
    why = "Adam divides the gradient by its size, so a decay that is part of it pulls at full step size wherever the loss is quiet."
    source = "Loshchilov, Hutter, Decoupled Weight Decay Regularization: https://arxiv.org/abs/1711.05101"
    requires = (Optimizers, Parameters)

    def judge(self, optimizers: Optimizers, parameters: Parameters) -> Verdict:
        """Judge the optimizer with the strongest coupled decay."""
        if not optimizers.optimizers:
            return not_run("there is no optimizer to judge")
        coupled = [o for o in optimizers.optimizers if o.kind in COUPLED and not o.options.get("decoupled_weight_decay")]
        worst = max(coupled, key=_decay, default=None)
        if worst is None or _decay(worst) < NEGLIGIBLE_DECAY:
            kinds = ", ".join(dict.fromkeys(o.kind for o in optimizers.optimizers))
            return passed(f"{kinds} adds no weight decay to an adaptive gradient.")
        decay, pull = _decay(worst), _pull(worst, parameters)
        strong = decay >= DECOUPLED_DECAY or (decay >= DOUBTFUL_DECAY and pull is not None and pull > 1)
        shown = f"; at the first step its pull is {pull:.2g} times the gradient of the loss" if pull is not None else ""
        return failed(
            f"{worst.kind} adds its weight decay of {decay:g} to the gradient before scaling it{shown}.",
            severity=Severity.WARNING if strong else Severity.NOTE,
            evidence={"measured": decay, "expected": "decoupled decay", "threshold": DECOUPLED_DECAY, "pull": pull},
            location=worst.where,
            fix=_fix(worst),
        )


def _decay(optimizer: OptimizerInfo) -> float:
    return max((group.weight_decay for group in optimizer.groups), default=0.0)


def _pull(optimizer: OptimizerInfo, parameters: Parameters) -> float | None:
    """Median over weight matrices of what decay adds to the gradient, relative to the gradient; None when not measured."""
    ratios = [
        _decay(optimizer) * p.weight_norm / p.gradient_norm
        for p in parameters.parameters
        if p.optimizer == optimizer.index and not p.norm_or_bias and p.gradient == "finite" and p.gradient_norm > 0
    ]
    return statistics.median(ratios) if ratios else None


def _fix(optimizer: OptimizerInfo) -> Fix:
    lr = optimizer.groups[0].lr if optimizer.groups else 1e-3
    decay = max(_decay(optimizer), DECOUPLED_DECAY)
    return Fix(
        summary="Use AdamW, which shrinks the weights directly; values of 0.01 to 0.1 are common with it.",
        code=f"optimizer = torch.optim.AdamW(model.parameters(), lr={lr:g}, weight_decay={decay:g})",
        edit=Edit(kind="decoupled-decay"),
    )
