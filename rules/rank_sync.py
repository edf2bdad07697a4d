"""The processes of a distributed run train one model: equal weights, averaged gradients, the same steps.

## What it checks

Made by `torchrun ... -m trainlint watch`: norms of up to 32 parameters and of their gradients at steps 1 to 4 and at powers of two,
in every process.

- **Error**: no process group was set up, so each process trains a model of its own.
- **Error**: the weights differ before the first step.
- **Error**: gradients differ at every step that was compared, and the weights drift apart.
- **Error**: the learning rates differ at the same step.
- **Warning**: the run ended with different numbers of steps.

Models that are split between processes are left out, and so are runs whose weights meet again (local SGD).

## Why it matters

Processes that do not average their gradients train different models; the one that is saved has seen its own share of the data
only. Different initial weights are never made equal by averaged gradients.

## Example

```python
dist.init_process_group("gloo")
model = Net()                                 # a model of its own in every process
for inputs, targets in loader:
    loss_fn(model(inputs), targets).backward()
    optimizer.step()
```

## Fix

```python
model = torch.nn.parallel.DistributedDataParallel(Net())
```

It sends the weights of process 0 to all others, and averages gradients during backward.

## Thresholds

- Weights: a relative difference of 1e-6 in a norm, below which rounding lies. Processes under DistributedDataParallel have equal bits.
- Gradients: a relative difference of 1e-3, at every step that was compared, three at least.

## References

- PyTorch, DistributedDataParallel: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
- Li et al. 2020, PyTorch Distributed: https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Fingerprint, RankFacts, Ranks
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Relative differences from which weights (and learning rates) and gradients count as different.
WEIGHTS, GRADIENTS = 1e-6, 1e-3
#: Steps that must be compared before gradients are judged.
ENOUGH = 3

_FIX = Fix(
    summary="Wrap the model in DistributedDataParallel, after init_process_group() and before the optimizer is built.",
    code='dist.init_process_group("gloo")   # "nccl" on GPUs\nmodel = torch.nn.parallel.DistributedDataParallel(model)',
)


class RankSync(Rule):
    """Compares the models of the processes of one run."""

    code = "TL317"
    name = "rank-sync"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "All processes train one model: equal weights, averaged gradients, the same steps"
    why = "Processes that are not kept equal train different models, and the one that is saved has seen a share of the data only."
    source = (
        "PyTorch, DistributedDataParallel: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html"
    )
    requires = (Ranks,)

    def judge(self, ranks: Ranks) -> Verdict:
        """Judge the start first, then gradients, then rates and steps."""
        facts = tuple(f for f in ranks.ranks if f.steps)
        if ranks.world < 2 or len(facts) < 2:
            return not_run("only one process was seen to train")
        if any(f.sharded for f in facts) or len({f.shapes for f in facts}) > 1:
            return not_run("the model is split between processes")
        where = facts[0].optimizer or facts[0].loop
        if not any(f.joined for f in facts):
            return _apart(
                f"{len(facts)} processes train without a process group, each a model of its own.", where, {"processes": len(facts)}
            )
        common = _common(facts)
        if not common:
            return not_run("no step was compared in every process")
        start = _spread([prints[0] for prints in common], lambda f: f.weights)
        drift = [_spread(step, lambda f: f.weights) for step in zip(*common, strict=True)]
        apart = [_spread(step, lambda f: f.gradients) for step in zip(*common, strict=True)]
        averaged = not (len(apart) >= ENOUGH and min(apart) > GRADIENTS and min(drift[1:]) > WEIGHTS)
        evidence: dict[str, Json] = {
            "measured": max(drift),
            "threshold": WEIGHTS,
            "gradients_apart": min(apart),
            "steps_compared": len(apart),
        }
        if start > WEIGHTS and common[0][0].step == 0:
            also = "" if averaged else "; nor are their gradients averaged"
            return _apart(
                f"The processes start from different weights: norms differ by up to {start:.2g} of their size{also}.", where, evidence
            )
        if not averaged:
            return _apart(
                f"Gradients are not averaged between processes: they differ by {min(apart):.2g} of their norm or more at each of {len(apart)} "
                "steps, and the weights drift apart.",
                where,
                evidence,
            )  # fmt: skip
        if any(_spread(step, lambda f: (f.lr,)) > WEIGHTS for step in zip(*common, strict=True)):
            rates = ", ".join(f"{prints[-1].lr:.3g}" for prints in common)
            return failed(
                f"The processes use different learning rates at the same step: {rates}.", severity=Severity.ERROR, evidence=evidence, location=where,
                fix=Fix(summary="Step the scheduler alike in every process; reduce a metric over all processes before it decides."),
            )  # fmt: skip
        return _steps(ranks, facts, evidence)


def _apart(message: str, where: Location | None, evidence: dict[str, Json]) -> Verdict:
    return failed(message, severity=Severity.ERROR, evidence=evidence, location=where, fix=_FIX)


def _common(facts: Sequence[RankFacts]) -> list[list[Fingerprint]]:
    """Fingerprints of the steps that every process has, a list for each process."""
    by_step = [{p.step: p for p in f.fingerprints} for f in facts]
    steps = sorted(set.intersection(*(set(found) for found in by_step)))
    return [[found[s] for s in steps] for found in by_step] if steps else []


def _spread(prints: Sequence[Fingerprint], values: Callable[[Fingerprint], tuple[float, ...]]) -> float:
    """Largest relative difference of any value between processes."""
    worst = 0.0
    for found in zip(*(values(p) for p in prints), strict=False):
        finite = [v for v in found if math.isfinite(v)]
        if len(finite) > 1 and max(map(abs, finite)) > 0:
            worst = max(worst, (max(finite) - min(finite)) / max(map(abs, finite)))
    return worst


def _steps(ranks: Ranks, facts: Sequence[RankFacts], evidence: dict[str, Json]) -> Verdict:
    counts = [f.steps for f in facts]
    if len(facts) == ranks.world and all(f.status == "ended" for f in facts) and len(set(counts)) > 1:
        return failed(
            f"The processes ended with different numbers of steps: {', '.join(map(str, counts))}.",
            severity=Severity.WARNING,
            evidence={**evidence, "steps": list(counts)},
            location=facts[0].loop,
            fix=Fix(summary="Give every process the same number of batches, and end all of them at the same step."),
        )
    return passed(f"{len(facts)} processes had equal weights at each of the compared steps.", evidence=evidence)
