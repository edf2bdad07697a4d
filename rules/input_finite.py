"""Finds NaN and infinite values in inputs and targets before they reach the weights.

## What it checks

The recorded batches, and a scan of the loaders within the time budget, are searched for NaN and infinity in every
tensor that enters the model or the loss. The rule names the samples and columns.

- **Error**: such values entered the model or the loss in a recorded step and the step turned non-finite
  (a warning when only its gradients did).
- **Warning**: the scan found samples that hold them; the step that draws one will meet them.
- It passes when recorded steps met such values and stayed finite: your code masks or fills them (missing targets of a
  multi-task model, for example). Additive attention masks, which are 0 and -inf by design, are left out.

## Why it matters

One NaN in one input makes the loss NaN, every gradient NaN and, after the step, every weight NaN. Nothing recovers
from that, and a blank cell in row 40,000 shows only hours into the run.

## Example

```python
table = pd.read_csv("lab.csv")          # a few blank cells become NaN
table = (table - table.mean()) / table.std()
```

## Fix

Fill or drop what is missing, with statistics of the training part only; the model may also be told what was missing.

```python
table = pd.read_csv("lab.csv")
table = table.fillna(table[:n_train].median())
table = (table - table[:n_train].mean()) / table[:n_train].std()
```

## Thresholds

- None: one value is enough, because one is enough to destroy every weight.

## References

- IEEE 754: every arithmetic operation on a NaN gives a NaN: https://doi.org/10.1109/IEEESTD.2019.8766229
- scikit-learn, Imputation of missing values: https://scikit-learn.org/stable/modules/impute.html
- PyTorch, torch.nan_to_num: https://docs.pytorch.org/docs/stable/generated/torch.nan_to_num.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, DataScan, Leaf, NonFinite, NonFiniteSample
from trainlint.rule import Rule, Verdict, failed, passed

#: Samples and columns named in the message; the table lists all that were kept.
NAMED = 5


class InputFinite(Rule):
    """NaN or infinity in inputs or targets."""

    code = "TL202"
    name = "input-finite"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Every input and target is a finite number"
    why = "One NaN in an input makes the loss, all gradients and, after the step, all weights NaN; nothing recovers from that."
    source = "IEEE 754, NaN propagates through arithmetic: https://doi.org/10.1109/IEEESTD.2019.8766229"
    requires = (Batches, DataScan, NonFinite)

    def judge(self, batches: Batches, scan: DataScan, steps: NonFinite) -> Verdict:
        """Judge recorded batches by what became of their step, scanned samples by what would."""
        views = (*batches.train, *batches.val)
        met = [(view, leaf) for view in batches.train for leaf in _watched(view) if leaf.nonfinite and not _is_additive_mask(leaf)]
        samples = [sample for sample in scan.nonfinite if _reaches(sample, views)]
        kept_all = len(samples) == len(scan.nonfinite)
        total = scan.nonfinite_samples if kept_all else len({(sample.phase, sample.index) for sample in samples})
        evidence: dict[str, Json] = {"measured": total, "expected": 0, "threshold": 0, "scanned": scan.samples_seen}
        table = (_table(samples),) if samples else ()
        if met and steps.found:
            view, leaf = met[0]
            return failed(
                f"{leaf.nonfinite:,} values of {leaf.path} in a training batch are NaN or infinite{_rows(leaf)}, "
                f"and step {steps.step} is non-finite because of them{_elsewhere(total, samples)}.",
                severity=Severity.WARNING if steps.what == "gradient" else Severity.ERROR,
                evidence={**evidence, "measured": max(total, leaf.nonfinite), "tensor": leaf.path},
                location=leaf.made_where or _where(scan, view.phase) or view.where,
                fix=_fix(leaf.kind, leaf.role),
                details=table,
            )
        if met:
            view, leaf = met[0]
            return passed(
                f"{leaf.path} holds {leaf.nonfinite:,} NaN or infinite values in a training batch, "
                f"and all {steps.steps} recorded steps stayed finite: the code masks or fills them.",
                evidence=evidence,
                details=table,
            )
        if samples:
            first = samples[0]
            known = (leaf for view in views for leaf in view.leaves if leaf.path == first.path)
            kind, role = next(((leaf.kind, leaf.role) for leaf in known), ("", "input"))
            return failed(
                f"{total:,} of {scan.samples_seen:,} scanned samples hold NaN or infinite values: {_name(samples)}.",
                severity=Severity.WARNING,
                evidence={**evidence, "samples": [sample.index for sample in samples[:NAMED]]},
                location=_where(scan, first.phase) or next((view.where for view in views if view.phase == first.phase), None),
                fix=_fix(kind, role),
                details=table,
            )
        if scan.error:
            return passed(f"The {scan.samples_seen:,} samples read before the scan stopped are finite ({scan.error}).", evidence=evidence)
        if not scan.samples_seen:
            return passed(f"The {len(views)} recorded batches are finite.", evidence=evidence)
        return passed(f"{scan.samples_seen:,} scanned samples and {len(views)} recorded batches are finite.", evidence=evidence)


def _watched(view: BatchView) -> Iterator[Leaf]:
    """Go through what entered the model, and the targets."""
    yield from view.inputs or (leaf for leaf in view.leaves if leaf.role == "input")
    yield from (leaf for leaf in view.leaves if leaf.role == "target")


def _is_additive_mask(leaf: Leaf) -> bool:
    """Zeros and -inf only: a mask that is added to attention scores."""
    return leaf.kind in ("tensor", "mask", "sequence") and leaf.minimum == leaf.maximum == 0.0 and leaf.nonfinite < math.prod(leaf.shape)


def _reaches(sample: NonFiniteSample, views: Sequence[BatchView]) -> bool:
    """Whether the tensor of this sample goes on to the model or the loss, as far as the recorded batches tell."""
    leaves = [leaf for view in views for leaf in view.leaves if leaf.path == sample.path]
    used = not leaves or any(leaf.role != "other" for leaf in leaves)
    return used and not (sample.value == "-inf" and any(_is_additive_mask(leaf) for leaf in leaves))


def _rows(leaf: Leaf) -> str:
    if not leaf.nonfinite_rows:
        return ""
    shown = ", ".join(map(str, leaf.nonfinite_rows[:NAMED]))
    return f" (rows {shown}{', …' if len(leaf.nonfinite_rows) > NAMED else ''})"


def _elsewhere(total: int, samples: Sequence[NonFiniteSample]) -> str:
    return f"; the scan found {total:,} such samples: {_name(samples)}" if samples else ""


def _name(samples: Sequence[NonFiniteSample]) -> str:
    """``columns 3 and 7 of [0], samples 12, 40, 41 … (train)``."""
    first = samples[0]
    alike = [sample for sample in samples if (sample.path, sample.phase) == (first.path, first.phase)]
    columns = sorted({column for sample in alike for column in sample.columns})
    where = f"columns {_list(columns)} of {first.path}" if columns else first.path
    return f"{where}, samples {_list([sample.index for sample in alike])} ({first.phase})"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:NAMED])) + (", …" if len(numbers) > NAMED else "")


def _table(samples: Sequence[NonFiniteSample]) -> Table:
    return Table(
        title="Samples with NaN or infinite values",
        columns=("phase", "tensor", "sample", "columns", "value"),
        rows=tuple((s.phase, s.path, s.index, _list(s.columns), s.value) for s in samples),
    )


def _where(scan: DataScan, phase: str) -> Location | None:
    return (scan.where or {}).get(phase)


def _fix(kind: str, role: str) -> Fix:
    if role == "target":
        return Fix(
            summary="Drop samples without a target, or leave their positions out of the loss.",
            code="known = torch.isfinite(targets)\nloss = criterion(outputs[known], targets[known])",
        )
    if kind == "table":
        return Fix(
            summary="Fill or drop missing cells where the table is read, with statistics of the training part only.",
            code="table = table.fillna(table[:n_train].median())",
            edit=Edit(kind="fill-missing"),
        )
    return Fix(
        summary="Find where the value is made (a division by zero, a log, a missing reading) and mend or drop the sample there.",
        code="keep = torch.isfinite(inputs).flatten(1).all(dim=1)\ninputs, targets = inputs[keep], targets[keep]",
    )
