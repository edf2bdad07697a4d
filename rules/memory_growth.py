"""Memory stops growing after the first epoch.

## What it checks

Made by `trainlint watch`: the memory held at the end of each training pass (by torch on a GPU, else by the whole process), from the
second pass on. In a loop without a loader it is read at steps 1, 2, 4, 8 …

- **Warning**: it has grown between every two readings, at a rate that does not fade, by more than 50 MB and a twentieth in all.

The first pass is left out: caches fill and allocators find their size in it.

## Why it matters

What grows with every epoch ends the run when memory is full, often hours in. Usually a list keeps tensors: losses with their
graphs, predictions, features.

## Example

```python
for inputs, targets in loader:
    outputs = model(inputs)
    seen.append(outputs.detach())          # every output of the whole run
```

## Fix

Keep numbers, or clear the list at the end of each epoch.

```python
for inputs, targets in loader:
    outputs = model(inputs)
    correct += (outputs.argmax(1) == targets).sum().item()
```

## Thresholds

- 50 MB and a twentieth: below that, allocators and interpreters of healthy runs move by themselves. A judgement.
- The second half of the growth at half the rate of the first, or more: a cache that fills fades.

## References

- PyTorch, Frequently Asked Questions, "My model reports out of memory": https://docs.pytorch.org/docs/stable/notes/faq.html
"""

from __future__ import annotations

from itertools import pairwise

from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import WatchedRun
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Readings after the first pass that make growth certain.
ENOUGH = 4
#: Growth in bytes, and as a share of what was held, below which nothing is said.
BYTES, SHARE = 50_000_000, 0.05
#: Least ratio of the growth's second half to its first, a step.
STEADY = 0.5


class MemoryGrowth(Rule):
    """Looks at what is held at the end of each training pass."""

    code = "TL318"
    name = "memory-growth"
    stage = Stage.GRADIENTS
    severity = Severity.WARNING
    summary = "Memory stops growing after the first epoch"
    why = "Memory that grows with every epoch ends the run when it is full, often hours in."
    source = "PyTorch, Frequently Asked Questions: https://docs.pytorch.org/docs/stable/notes/faq.html"
    requires = (WatchedRun,)

    def judge(self, run: WatchedRun) -> Verdict:
        """Judge the readings after the first pass."""
        points = [(step, held) for step, held in run.memory if step > 0][1:]
        if len(points) < ENOUGH:
            return not_run(f"memory was read {len(points)} times after the first training pass; {ENOUGH} readings are needed")
        (first_step, first), (last_step, last) = points[0], points[-1]
        grown = last - first
        what = "torch holds on the GPU" if run.memory_of == "cuda" else "the process holds"
        evidence: dict[str, Json] = {"measured": grown, "first": first, "last": last, "threshold": BYTES, "readings": len(points)}
        rises = all(b[1] > a[1] for a, b in pairwise(points))
        if not rises or grown < BYTES or grown < SHARE * first or not _steady(points):
            return passed(
                f"The memory that {what} went from {first / 1e6:,.0f} to {last / 1e6:,.0f} MB after the first pass.", evidence=evidence
            )
        a_step = grown / max(last_step - first_step, 1)
        return failed(
            f"The memory that {what} grows with every pass: from {first / 1e6:,.0f} to {last / 1e6:,.0f} MB between steps {first_step:,} and "
            f"{last_step:,}, {a_step / 1e6:.2g} MB a step.",
            severity=Severity.WARNING,
            evidence=evidence,
            location=run.loop,
            fix=Fix(
                summary="Find the list or variable that keeps tensors from step to step; keep numbers, or clear it after each epoch.",
                code="total += loss.item()   # not: losses.append(loss)",
            ),
        )  # fmt: skip


def _steady(points: list[tuple[int, int]]) -> bool:
    middle = points[len(points) // 2]
    (start, held), (end, most) = points[0], points[-1]
    early = (middle[1] - held) / max(middle[0] - start, 1)
    late = (most - middle[1]) / max(end - middle[0], 1)
    return late >= STEADY * early
