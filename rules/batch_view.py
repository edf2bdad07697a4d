"""Shows one real batch after all transforms, as the model receives it.

## What it checks

It draws the first training batch and the first validation batch (pictures with their labels, or the first rows of a
table) and lists the shape, type and range of values of every tensor in them. This is for your eyes: the rule never
says *error*. It only adds a note where something is plainly odd:

- every target of all recorded training batches is one and the same value;
- what enters the model in training and in validation is of a different kind (pictures here, flat rows there).

## Why it matters

"Become one with the data" is the first rule of debugging a network. A wrong crop, a swapped axis, labels that belong
to other pictures, a target read from the wrong column: a person sees them at a glance and no statistic does.

## Example

```python
table = np.genfromtxt("houses.csv", delimiter=",")
features, price = table[:, :-2], table[:, -1]  # the last column is a flag that is always 1
```

## Fix

Look at the batch. Do the pictures show what they should, upright, in true colours, with the right label? Are the
numbers of a table in the range you expect? Follow the odd tensor back to where it is read or transformed.

```python
features, price = table[:, :-2], table[:, -2]
```

## Thresholds

- A constant target is noted from 32 samples on: by chance, a binary target whose rare class has a share of 10 % is
  constant over 32 samples in 3 of 100 runs.

## References

- Andrej Karpathy, A Recipe for Training Neural Networks, 2019: https://karpathy.github.io/2019/04/25/recipe/
- Martin Zinkevich, Rules of Machine Learning: https://developers.google.com/machine-learning/guides/rules-of-ml
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainlint.details import Detail, Table
from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import Batches, Leaf
from trainlint.measurements import BatchView as View
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._inputs import main_input

#: Samples from which a constant target is odd; 0.9 ** 32 = 0.03 for a rare class of 10 %.
CONSTANT_TARGET_SAMPLES = 32
#: How the paths of targets begin that a loop computes.
MADE = "target "


class BatchView(Rule):
    """One real batch, drawn."""

    code = "TL201"
    name = "batch-view"
    stage = Stage.DATA
    severity = Severity.NOTE
    summary = "The batch that enters the model looks as it should"
    why = "A wrong crop, a swapped axis or labels of other samples are seen at a glance and found by no statistic."
    source = "Karpathy, A Recipe for Training Neural Networks: https://karpathy.github.io/2019/04/25/recipe/"
    requires = (Batches,)

    def judge(self, batches: Batches) -> Verdict:
        """Show the first batches; note only what is plainly odd."""
        if not batches.train:
            return not_run("no training batch was recorded")
        first = batches.train[0]
        details = tuple(_details([first, *batches.val[:1]]))
        evidence: dict[str, Json] = {"batches": len(batches.train), "samples": _samples(first)}
        odd = [*_constant_targets(batches.train), *_other_kind(first, batches.val)]
        if not odd:
            return passed(f"{_describe(first)}.", evidence=evidence, details=details)
        return failed(
            f"{'; '.join(odd)}.",
            severity=Severity.NOTE,
            evidence={**evidence, "measured": "; ".join(odd), "expected": "varying targets, and one kind of input"},
            location=first.where,
            fix=Fix(
                summary="Look at the batch below and follow the odd tensor back to where it is read or transformed.",
                code="inputs, targets = next(iter(train_loader))\nprint(inputs.shape, inputs.min(), inputs.max(), targets[:20])",
            ),
            details=details,
        )


def _constant_targets(views: Sequence[View]) -> Iterator[str]:
    alike: dict[tuple[int, int, float], list[str]] = {}
    for place, leaf in enumerate(views[0].leaves):
        if leaf.role != "target" or leaf.kind not in ("labels", "scalar", "mask"):
            continue
        same = [view.leaves[place] for view in views if place < len(view.leaves) and view.leaves[place].path == leaf.path]
        samples = sum(_rows(one) for one in same)
        if samples >= CONSTANT_TARGET_SAMPLES and min(one.minimum for one in same) == max(one.maximum for one in same):
            alike.setdefault((samples, len(same), leaf.minimum), []).append(leaf.path)
    made = [leaf.path for leaf in views[0].leaves if leaf.role == "target" and leaf.path.startswith(MADE)]
    if made and sum(map(len, alike.values())) < len(made):
        return  # of what a loop computes its target from, a part may well stand still
    for (samples, batches, value), paths in alike.items():
        named = ", ".join(paths[:2]) + (f" and {len(paths) - 2} more" if len(paths) > 2 else "")
        yield f"All {samples:,} targets in the {batches} recorded training batches ({named}) are {value:g}"


def _other_kind(first: View, val: Sequence[View]) -> Iterator[str]:
    mine, theirs = main_input(first), main_input(val[0]) if val else None
    if val and bool(first.inputs) != bool(val[0].inputs):
        return  # what has not entered the model may still be prepared on the way there
    if mine and theirs and mine.kind != theirs.kind:
        yield (
            f"The model receives {_words(mine)} in training but {_words(theirs)} in validation, "
            "so the two do not go through the same preparation"
        )


def _details(views: Sequence[View]) -> Iterator[Detail]:
    for view in views:
        if view.pictures:
            yield view.pictures
        if view.table:
            yield view.table
    yield Table(
        title="What is in a batch",
        columns=("phase", "tensor", "role", "kind", "shape", "type", "min", "max", "mean", "std"),
        rows=tuple(_row(view.phase, leaf) for view in views for leaf in (*view.leaves, *_changed_inputs(view))),
    )


def _changed_inputs(view: View) -> Iterator[Leaf]:
    """Find inputs of the model that are no tensor of the batch: the loop or a wrapper changed them after loading."""
    known = {_facts(leaf) for leaf in view.leaves}
    return (leaf for leaf in view.inputs if _facts(leaf) not in known)


def _facts(leaf: Leaf) -> tuple[object, ...]:
    return (leaf.shape, leaf.dtype, leaf.minimum, leaf.maximum, leaf.mean)


def _row(phase: str, leaf: Leaf) -> tuple[str | float, ...]:
    shape = " × ".join(map(str, leaf.shape))
    return (phase, leaf.path, leaf.role, leaf.kind, shape, leaf.dtype, leaf.minimum, leaf.maximum, leaf.mean, leaf.std)


def _describe(view: View) -> str:
    leaf = main_input(view)
    if leaf is None:
        return f"The first training batch holds {len(view.leaves)} tensors"
    values = f"{leaf.minimum:.3g} to {leaf.maximum:.3g} (mean {leaf.mean:.3g}, std {leaf.std:.3g})"
    return f"The model receives {_words(leaf)} with values from {values}"


def _words(leaf: Leaf) -> str:
    return f"{'×'.join(map(str, leaf.shape))} {leaf.kind} ({leaf.dtype})"


def _samples(view: View) -> int:
    return max((_rows(leaf) for leaf in view.leaves or view.inputs), default=0)


def _rows(leaf: Leaf) -> int:
    return leaf.shape[0] if leaf.shape else 1
