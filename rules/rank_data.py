"""In a distributed run every process trains on a part of the data of its own, shuffled anew in each epoch.

## What it checks

Made by `torchrun ... -m trainlint watch`: what each process feeds its model, and how its sampler goes on.

- **Error**: two processes feed their models the same batches, tensor for tensor.
- **Error**: processes get different numbers of batches in an epoch and the run came to no good end; a **warning** when it did.
- **Warning**: a DistributedSampler shuffles with the same epoch number in every epoch, so the order never changes.

Models that are split between processes are left out: there the same batch on several is meant.

## Why it matters

With the same data everywhere, two GPUs do the work of one, and an epoch sees each sample several times over. A process with one
batch more waits for the others forever, or until the time limit of the process group. Without set_epoch the shuffling of the
first epoch is repeated in all others.

## Example

```python
loader = DataLoader(data, batch_size=32)      # the same batches in every process
for epoch in range(10):
    for batch in loader:
        train(batch)
```

## Fix

```python
sampler = DistributedSampler(data, shuffle=True)
loader = DataLoader(data, batch_size=32, sampler=sampler)
for epoch in range(10):
    sampler.set_epoch(epoch)
    for batch in loader:
        train(batch)
```

## Thresholds

Two batches in a row that are equal, tensor for tensor; two epochs with the same number.

## References

- PyTorch, DistributedSampler: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.distributed.DistributedSampler
- PyTorch, Distributed training with uneven inputs: https://docs.pytorch.org/tutorials/advanced/generic_join.html
"""

from __future__ import annotations

from itertools import combinations

from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import RankFacts, Ranks
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Inputs that must be equal before two processes are said to read the same data.
ENOUGH = 2


class RankData(Rule):
    """Compares what the processes of one run feed their models."""

    code = "TL216"
    name = "rank-data"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Each process trains on data of its own, in an order that changes"
    why = "With the same data in every process a second GPU adds nothing, and uneven data makes processes wait for each other forever."
    source = "PyTorch, DistributedSampler: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.distributed.DistributedSampler"
    requires = (Ranks,)

    def judge(self, ranks: Ranks) -> Verdict:
        """Judge equal data first, then uneven data, then the sampler's epoch."""
        facts = ranks.ranks
        if ranks.world < 2 or len(facts) < 2:
            return not_run("only one process was watched")
        if any(f.sharded for f in facts) or len({f.shapes for f in facts}) > 1:
            return not_run("the model is split between processes, which may share their data")
        if same := _same(facts):
            return _same_data(*same)
        if uneven := _uneven(facts):
            return _uneven_data(ranks, *uneven)
        if frozen := next((f for f in facts if f.shuffles and len(f.sampler_epochs) > 1 and len(set(f.sampler_epochs)) == 1), None):
            return _no_set_epoch(frozen)
        compared = min(len(f.inputs) for f in facts)
        if compared < ENOUGH:
            return not_run("too few training steps were seen in every process")
        return passed(f"{len(facts)} processes fed their models different batches.", evidence={"compared": compared})


def _same(facts: tuple[RankFacts, ...]) -> tuple[RankFacts, RankFacts, int] | None:
    for one, other in combinations(facts, 2):
        common = min(len(one.inputs), len(other.inputs))
        if common >= ENOUGH and one.inputs[:common] == other.inputs[:common]:
            return one, other, common
    return None


def _same_data(one: RankFacts, other: RankFacts, compared: int) -> Verdict:
    return failed(
        f"Processes {one.rank} and {other.rank} feed their models the same batches: all {compared} that were compared are equal.",
        severity=Severity.ERROR,
        evidence={"measured": compared, "expected": 0, "compared": compared},
        location=one.loader or one.loop,
        fix=Fix(
            summary="Give each process its part of the data with a DistributedSampler (or a loader that your framework prepares).",
            code="sampler = DistributedSampler(data, shuffle=True)\nloader = DataLoader(data, batch_size=32, sampler=sampler)",
        ),
    )


def _uneven(facts: tuple[RankFacts, ...]) -> tuple[RankFacts, int, RankFacts, int] | None:
    """Two processes with different numbers of batches in the same pass, and the numbers."""
    for one, other in combinations(facts, 2):
        for n, m in zip(one.batches, other.batches, strict=False):
            if n != m:
                return one, n, other, m
        for few, many in ((one, other), (other, one)):
            at = len(many.batches)
            if len(few.batches) > at and many.running > few.batches[at]:
                return few, few.batches[at], many, many.running
    return None


def _uneven_data(ranks: Ranks, one: RankFacts, n: int, other: RankFacts, m: int) -> Verdict:
    ended = len(ranks.ranks) == ranks.world and all(f.status == "ended" for f in ranks.ranks)
    return failed(
        f"In the same epoch process {one.rank} got {n} batches and process {other.rank} {m}{'' if ended else ', and the run did not come to its end'}.",
        severity=Severity.WARNING if ended else Severity.ERROR,
        evidence={"measured": abs(n - m), "expected": 0, "threshold": 0},
        location=one.loader or one.loop,
        fix=Fix(
            summary="Make the parts equal: a DistributedSampler does, or drop what is left over; or train under the Join context manager.",
            code="sampler = DistributedSampler(data, drop_last=True)",
        ),
    )


def _no_set_epoch(facts: RankFacts) -> Verdict:
    return failed(
        f"The DistributedSampler shuffles with the epoch number {facts.sampler_epochs[0]} in each of {len(facts.sampler_epochs)} epochs: "
        "the order of the data never changes.",
        severity=Severity.WARNING,
        evidence={"measured": 1, "expected": len(facts.sampler_epochs), "epoch": facts.sampler_epochs[0]},
        location=facts.loop or facts.loader,
        fix=Fix(summary="Tell the sampler the epoch before each pass.", code="sampler.set_epoch(epoch)\nfor batch in loader:"),
    )
