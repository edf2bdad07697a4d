"""Checks that weight decay leaves norm weights and biases alone.

## What it checks

The parameter groups of every optimizer: which of them decay, and whether they hold norm weights or biases (tensors with
fewer than two axes).

- **Warning**: only norm weights and biases decay, while the weight matrices do not: the groups are swapped.
- **Note**: norm weights and biases decay together with everything else, strongly enough to matter within the run. A **warning** when a
  decay of 0.2 or more would take half of a weight that nothing pulls back.

Passed: no decay, groups that leave them out, and decay too weak to matter (an untouched weight would shrink by less than
5 % over the run).

## Why it matters

Decay keeps matrices small so that functions stay simple. A norm layer's gain and a bias do not make a function more
complex, they place it; pulling them to zero only shrinks activations and shifts outputs. The effect is small, which is
why this is a note: many published recipes decay everything.

## Example

```python
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
```

## Fix

```python
matrices = [p for p in model.parameters() if p.ndim >= 2]
vectors = [p for p in model.parameters() if p.ndim < 2]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
```

## Thresholds

- 5 %: `1 - exp(-lr * weight_decay * steps)` over the run, with `lr / (1 - momentum)` for SGD. A judgement: less is lost in the noise of a run.
- Half of a weight, and a decay of 0.2: twice the largest in common recipes (0.1). With a schedule its mean learning rate counts.
- 1,000 steps are assumed where the length of the run is not known: AdamW's default decay of 0.01 at a learning rate of
  1e-3 then passes with 1 %, the 1e-4 of ImageNet recipes with SGD at 0.1 and momentum 0.9 is noted with 10 %.

## References

- He et al., Bag of Tricks for Image Classification with CNNs, section 3.1, "no bias decay", 2019: https://arxiv.org/abs/1812.01187
- Karpathy, minGPT, configure_optimizers: https://github.com/karpathy/minGPT/blob/master/mingpt/model.py
- torch.optim, per-parameter options: https://docs.pytorch.org/docs/stable/optim.html
"""

from __future__ import annotations

import math
import statistics

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: How far an untouched weight must shrink over the run for decay to matter: a judgement.
SHRINKAGE = 0.05
#: How far it must shrink, and the decay from which nobody means it, for a warning: usual decays are 1e-4 to 0.1.
HALVED, STRONG = 0.5, 0.2
#: Length of a run that is not known: a short one.
STEPS = 1_000


class DecayGroups(Rule):
    """Looks at what each parameter group decays."""

    code = "TL502"
    name = "decay-groups"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "Weight decay leaves norm weights and biases alone"
    why = "Decay keeps matrices small; on norm gains and biases it only shrinks activations and shifts outputs."
    source = "He et al., Bag of Tricks, section 3.1: https://arxiv.org/abs/1812.01187"
    requires = (Optimizers,)

    def judge(self, optimizers: Optimizers) -> Verdict:
        """Judge swapped groups first, then decay on everything."""
        if not optimizers.optimizers:
            return not_run("there is no optimizer to judge")
        for optimizer in optimizers.optimizers:
            if _swapped(optimizer):
                return _failure(
                    optimizer,
                    "Only norm weights and biases decay, the weight matrices do not: the two parameter groups are swapped.",
                    Severity.WARNING,
                    None,
                )
        steps = (optimizers.epochs or 0) * (optimizers.steps_per_epoch or 0) or STEPS
        weak: list[float] = []
        for optimizer in optimizers.optimizers:
            for group in optimizer.groups:
                if not (group.weight_decay > 0 and group.norm_or_bias):
                    continue
                shrinkage = _shrinkage(group, optimizer, steps, _scheduled(optimizer, optimizers))
                if shrinkage >= SHRINKAGE:
                    message = (
                        f"A weight decay of {group.weight_decay:g} also acts on {group.norm_or_bias} norm weights and biases: "
                        f"one that nothing pulls back shrinks by {shrinkage:.0%} in {steps:,} steps."
                    )
                    strong = shrinkage >= HALVED and group.weight_decay >= STRONG
                    return _failure(optimizer, message, Severity.WARNING if strong else Severity.NOTE, shrinkage)
                weak.append(shrinkage)
        if weak:
            return passed(f"Decay on norm weights and biases is too weak to matter ({max(weak):.2%} in {steps:,} steps).")
        return passed("Norm weights and biases do not decay.")


def _swapped(optimizer: OptimizerInfo) -> bool:
    vectors = [group for group in optimizer.groups if group.tensors and group.norm_or_bias == group.tensors]
    matrices = [group for group in optimizer.groups if group.norm_or_bias < group.tensors]
    return bool(vectors and matrices) and all(g.weight_decay > 0 for g in vectors) and not any(g.weight_decay for g in matrices)


def _scheduled(optimizer: OptimizerInfo, optimizers: Optimizers) -> float:
    """Mean learning rate of the optimizer's schedule; 0 without one."""
    found = [statistics.fmean(s.preview) for s in optimizers.schedulers if s.optimizer == optimizer.index and s.preview]
    return max(found, default=0.0)


def _shrinkage(group: GroupInfo, optimizer: OptimizerInfo, steps: int, scheduled: float) -> float:
    """How far decay alone shrinks a weight in so many steps at the configured learning rate, or at the mean of its schedule."""
    lr = max(group.lr, scheduled)
    rate = lr / (1 - group.momentum) if optimizer.kind == "SGD" and group.momentum < 1 else lr
    return 1 - math.exp(-max(rate * group.weight_decay * steps, 0.0))


def _failure(optimizer: OptimizerInfo, message: str, severity: Severity, shrinkage: float | None) -> Verdict:
    lr = optimizer.groups[0].lr
    decay = max(group.weight_decay for group in optimizer.groups)
    return failed(
        message,
        severity=severity,
        evidence={"measured": shrinkage, "expected": 0.0, "threshold": SHRINKAGE, "weight_decay": decay},
        location=optimizer.where,
        fix=Fix(
            summary="Give matrices and vectors a group each, and decay only the matrices.",
            code=(
                "matrices = [p for p in model.parameters() if p.ndim >= 2]\n"
                "vectors = [p for p in model.parameters() if p.ndim < 2]\n"
                f'groups = [{{"params": matrices, "weight_decay": {decay:g}}}, {{"params": vectors, "weight_decay": 0.0}}]\n'
                f"optimizer = torch.optim.{optimizer.kind}(groups, lr={lr:g})"
            ),
            edit=Edit(kind="decay-groups") if len(optimizer.groups) == 1 else None,
        ),
        details=(
            Table(
                title=f"Parameter groups of {optimizer.kind}",
                columns=("group", "learning rate", "weight decay", "tensors", "of them norm weights and biases"),
                rows=tuple((i, g.lr, g.weight_decay, g.tensors, g.norm_or_bias) for i, g in enumerate(optimizer.groups)),
            ),
        ),
    )
