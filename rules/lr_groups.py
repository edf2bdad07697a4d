"""The learning rates of parameter groups suit what is in them.

## What it checks

The groups of an optimizer that holds pretrained weights: how much of each was loaded, and where along the forward its
tensors are used.

- **Warning**: at least three groups of pretrained layers have learning rates that *grow* towards the input: layer-wise
  decay the wrong way round.
- **Warning**: a new head learns at a tenth or less of the rate of the pretrained body.
- **Warning**: a group is empty (the filter that fills it matches nothing), and the new head has fallen into the group of the pretrained body,
  at a tenth or less of the empty group's rate.
- **Warning**: every group has a rate of its own, a tenth or less of the one that the optimizer was given, which so reaches nothing, while new
  parameters are among the pretrained ones.
- **Warning**, or a note when the steps stay small: the head has a group of its own, and the pretrained body the very
  same rate.

One group for everything passes: at a rate made for fine-tuning it is a common recipe. So do groups that differ in
weight decay only, and models that are trained from scratch.

## Why it matters

The layers at the input know the most general things and need to change least; a new head knows nothing. With the rates
swapped, the body forgets while the head stays random, and its random gradients are what the body learns from.

## Example

```python
optimizer = torch.optim.AdamW([
    {"params": model.body.parameters(), "lr": 1e-3},
    {"params": model.head.parameters(), "lr": 1e-5},
])
```

## Fix

```python
optimizer = torch.optim.AdamW([
    {"params": model.body.parameters(), "lr": 1e-5},
    {"params": model.head.parameters(), "lr": 1e-3},
])
```

## Thresholds

- A tenth: Howard and Ruder, and BEiT, give lower layers 1/2.6 to 0.65 of the next one's rate, always less than the
  head's; a factor of ten the other way is outside all recipes.
- Three rates, and nine tenths of all pairs of groups the wrong way round: fewer say nothing about a direction.
- Same rate: a warning when a step changes a typical weight of the body by more than 0.003 of itself, three times the
  0.001 that is sound from scratch (as in update-ratio).

## References

- Howard and Ruder, Universal Language Model Fine-tuning (discriminative fine-tuning): <https://arxiv.org/abs/1801.06146>
- Bao et al., BEiT (layer-wise learning-rate decay): <https://arxiv.org/abs/2106.08254>
- Kumar et al., Fine-Tuning can Distort Pretrained Features: <https://arxiv.org/abs/2202.10054>
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

from trainlint.details import Table
from trainlint.finding import Fix, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import GroupInfo, OptimizerInfo, Optimizers, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

PRETRAINED = 0.9
FRESH = 0.1
SLOWER = 0.1
LARGE_STEP = 3e-3
LAYERS = 3
REVERSED = 0.9


class LearningRateGroups(Rule):
    """Looks at groups along depth, and at the head against the body."""

    code = "TL405"
    name = "lr-groups"
    stage = Stage.LEARNING_RATE
    severity = Severity.WARNING
    summary = "Pretrained layers learn no faster than a new head, and slower towards the input"
    why = "With the rates the wrong way round the body forgets what it knew, while the head stays nearly random."
    source = "Howard and Ruder, Universal Language Model Fine-tuning, https://arxiv.org/abs/1801.06146"
    requires = (Optimizers, Parameters)

    def judge(self, optimizers: Optimizers, parameters: Parameters) -> Verdict:
        """Layer-wise decay first, then head against body."""
        if not optimizers.optimizers:
            return not_run("there is no optimizer to judge")
        for optimizer in optimizers.optimizers:
            verdict = _passed_by(optimizer)
            if verdict is not None:
                return verdict
            groups = [g for g in optimizer.groups if g.depth is not None and g.parameters and g.lr > 0]
            body = sorted((g for g in groups if g.pretrained_share >= PRETRAINED), key=_depth)
            if not body:
                continue
            verdict = (
                _fallen_through(optimizer, body)
                or _reversed(optimizer, body)
                or _head(optimizer, body, _fresh_after(groups, body), parameters)
            )
            if verdict is not None:
                return verdict
        if not any(g.pretrained_share for o in optimizers.optimizers for g in o.groups):
            return passed("No weights were loaded, so there are no learned layers to treat differently.")
        return passed("Learning rates of pretrained and new layers agree with their depth, or are the same for all.")


def _depth(group: GroupInfo) -> float:
    return group.depth or 0.0


def _fresh_after(groups: list[GroupInfo], body: list[GroupInfo]) -> list[GroupInfo]:
    """New groups that stand nearer to the loss than the body."""
    return [g for g in groups if g.pretrained_share <= FRESH and _depth(g) > _depth(body[-1])]


def _fallen_through(optimizer: OptimizerInfo, body: list[GroupInfo]) -> Verdict | None:
    """An empty group beside one that holds new parameters among pretrained ones, at a far lower rate."""
    empty = max((g for g in optimizer.groups if not g.tensors), key=lambda g: g.lr, default=None)
    holding = min((g for g in body if g.fresh), key=lambda g: g.lr, default=None)
    if empty is None or holding is None or holding.lr > SLOWER * empty.lr:
        return None
    layer = holding.fresh[0].rpartition(".")[0]
    names = ", ".join(holding.fresh[:2]) + (", …" if len(holding.fresh) > 2 else "")
    verdict = _failure(
        optimizer,
        f"The group with the learning rate of {empty.lr:.2g} is empty, and the new parameters ({names}) are in the group of the pretrained ones, "
        f"which learns at {holding.lr:.2g}, {empty.lr / holding.lr:.0f} times slower: the filter that was to pick them matches nothing.",
        Severity.WARNING,
        Fix(
            summary="Pick the new layers by the names or modules that the model has, and assert that the group is not empty.",
            code=f'head = [p for n, p in model.named_parameters() if n.startswith("{layer}")]\nassert head',
        ),
        holding.lr / empty.lr,
        where=empty.where,
    )
    return replace(verdict, evidence=verdict.evidence | {"empty group": optimizer.groups.index(empty)})


def _passed_by(optimizer: OptimizerInfo) -> Verdict | None:
    """The rate of the optimizer itself reaches nothing, since the group of the pretrained parameters holds the new ones too."""
    rate, mixed = optimizer.unused_lr, [g for g in optimizer.groups if g.pretrained and g.fresh and g.lr > 0]
    holding = min(mixed, key=lambda g: g.lr, default=None)
    if (
        rate is None
        or holding is None
        or not holding.lr <= SLOWER * rate < math.inf
        or any(g.tensors and g.lr > SLOWER * rate for g in optimizer.groups)
    ):
        return None
    names = ", ".join(holding.fresh[:2]) + (", …" if len(holding.fresh) > 2 else "")
    return _failure(
        optimizer,
        f"The optimizer's learning rate of {rate:.2g} reaches no parameter: the new ones ({names}) are in the group of the pretrained ones, which "
        f"learns at {holding.lr:.2g}, {rate / holding.lr:.0f} times slower.",
        Severity.WARNING,
        Fix(
            summary="Leave the new layers out of the group: a pattern or prefix that names the body matches what was put into it as well.",
            code=f'body = [p for n, p in model.named_parameters() if not n.startswith("{holding.fresh[0].rpartition(".")[0]}")]',
        ),
        holding.lr / rate,
    )


def _reversed(optimizer: OptimizerInfo, body: list[GroupInfo]) -> Verdict | None:
    pairs = [(a.lr, b.lr) for a, b in itertools.combinations(body, 2) if a.lr != b.lr]
    if len({g.lr for g in body}) < LAYERS or sum(near > far for near, far in pairs) < REVERSED * len(pairs):
        return None
    first, last = body[0], body[-1]
    return _failure(
        optimizer,
        f"The learning rates of the pretrained layers grow towards the input: {first.lr:.2g} at the input ({_name(first)}) against "
        f"{last.lr:.2g} at the output ({_name(last)}).",
        Severity.WARNING,
        Fix(
            summary="Turn the decay round: the layer at the output gets the full rate, each one before it a little less.",
            code="groups = [\n    {'params': layer.parameters(), 'lr': lr * 0.75 ** (len(layers) - 1 - i)}\n    for i, layer in enumerate(layers)\n]",
        ),
        first.lr / last.lr,
    )


def _head(optimizer: OptimizerInfo, body: list[GroupInfo], heads: list[GroupInfo], parameters: Parameters) -> Verdict | None:
    if not heads:
        return None
    fastest, slowest = max(heads, key=lambda g: g.lr), max(body, key=lambda g: g.lr)
    ratio = fastest.lr / slowest.lr
    fix = Fix(
        summary="Give the new head ten to a hundred times the rate of the pretrained body.",
        code=f"optimizer = torch.optim.{optimizer.kind}([\n"
        f'    {{"params": body, "lr": {min(fastest.lr, slowest.lr) / (1 if ratio < 1 else 10):.2g}}},\n'
        f'    {{"params": head, "lr": {max(fastest.lr, slowest.lr):.2g}}},\n])',
    )
    if ratio <= SLOWER:
        message = (
            f"The new head ({_name(fastest)}) learns at {fastest.lr:.2g}, {1 / ratio:.0f} times slower than the pretrained body "
            f"({_name(slowest)}) at {slowest.lr:.2g}."
        )
        return _failure(optimizer, message, Severity.WARNING, fix, ratio)
    same = [g for g in body if g.lr == fastest.lr and g.weight_decay == fastest.weight_decay]
    if ratio != 1 or not same or len(optimizer.groups) < 2:
        return None
    step = _step(same, parameters)
    message = (
        f"The new head has a group of its own, but the pretrained body ({_name(same[0])}) the same learning rate of {fastest.lr:.2g}"
        + (f": a step changes a typical weight of the body by {step:.2%} of itself." if step is not None else ".")
    )
    return _failure(optimizer, message, Severity.WARNING if step is not None and step > LARGE_STEP else Severity.NOTE, fix, ratio)


def _step(body: list[GroupInfo], parameters: Parameters) -> float | None:
    """Median update ratio of the body's matrices, at the configured rate when the recorded steps were warming up."""
    first = body[0].first_lr
    scale = body[0].lr / first if first > 0 else 1.0
    depth = max(_depth(g) for g in body)
    count = max(len(parameters.parameters) - 1, 1)
    found = [
        p.update_ratio
        for i, p in enumerate(parameters.parameters)
        if p.update_ratio is not None and not p.norm_or_bias and i / count <= depth
    ]
    return statistics.median(found) * scale if found else None


def _name(group: GroupInfo) -> str:
    return group.names[0] if group.names else "unnamed"


def _failure(optimizer: OptimizerInfo, message: str, severity: Severity, fix: Fix, ratio: float, where: Location | None = None) -> Verdict:
    return failed(
        message,
        severity=severity,
        evidence={"measured": ratio, "threshold": SLOWER, "rates": [g.lr for g in optimizer.groups]},
        location=where or optimizer.where,
        fix=fix,
        details=(
            Table(
                title=f"Parameter groups of {optimizer.kind}",
                columns=("group", "begins with", "learning rate", "loaded", "depth"),
                rows=tuple(
                    (i, _name(g), g.lr, f"{g.pretrained_share:.0%}", f"{g.depth:.2f}" if g.depth is not None else "not used")
                    for i, g in enumerate(optimizer.groups)
                ),
            ),
        ),
    )
