"""Checks what becomes of the samples that do not fill a whole batch.

## What it checks

The number of samples, the batch size and `drop_last` of each loader, and the batch-norm layers of the recorded step.

- **Error**: nothing is trained at all, because the batch size exceeds the number of samples and `drop_last` drops them.
- **Warning**: the last training batch holds one sample, and a batch-norm layer has one value a channel and sample: torch refuses that
  ("Expected more than 1 value per channel when training"). Validation drops a twentieth of its samples or more, or all of them.
- **Note**: the same single sample where batch norm sees several values, as in pictures; validation that drops fewer.

## Why it matters

A training run that stops after an hour at the end of its first epoch, or only on some numbers of samples, is this. A statistic
of one sample is no statistic. Validation without its last samples never looks at those, and when files are sorted they are
all of one class.

## Example

```python
loader = DataLoader(train_set, batch_size=64, shuffle=True)  # 1,025 samples
```

## Fix

Drop the last batch in training, where shuffling takes another one each time, and keep it in validation.

```python
train_loader = DataLoader(train_set, batch_size=64, shuffle=True, drop_last=True)
val_loader = DataLoader(val_set, batch_size=64)
```

## Thresholds

- One sample: torch refuses to normalise a single value.
- A twentieth: an accuracy cannot be off by more than the share that is left out.

## References

- torch.nn.functional.batch_norm, which raises on one value per channel: https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
- torch.utils.data.DataLoader, drop_last: https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
- PyTorch issue 7716, a last batch of one sample: https://github.com/pytorch/pytorch/issues/7716
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import LastBatch, LoaderEnd
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of validation samples whose loss matters.
SHARE = 0.05

KEEP = Fix(
    summary="Keep the last batch in validation: no gradient depends on its size.",
    code="val_loader = DataLoader(val_set, batch_size=64)",
    edit=Edit(kind="drop-last", values={"drop": False}),
)


class LastBatchRule(Rule):
    """Looks at empty loaders, at a last batch of one sample, and at samples that are never validated."""

    code = "TL213"
    name = "last-batch"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Every batch holds enough samples, and validation drops none"
    why = "A last batch of one sample stops training that uses batch norm, or feeds it a statistic of nothing; samples that are dropped are never looked at."
    source = "torch.utils.data.DataLoader, drop_last: https://docs.pytorch.org/docs/stable/data.html"
    requires = (LastBatch,)

    def judge(self, facts: LastBatch) -> Verdict:
        """Judge the worst first."""
        if not facts.loaders:
            return not_run("no loader makes batches of one size from a known number of samples")
        for loader in facts.loaders:
            if loader.phase == "empty" and loader.dropped == loader.samples:
                return _empty(loader, facts)
        single = next((e for e in facts.loaders if e.phase == "train" and e.last == 1 < e.batch_size and not e.drop_last), None)
        if single is not None and facts.single:
            return _single(single, facts, refused=True)
        unseen = max((e for e in facts.loaders if e.phase == "val"), key=lambda e: e.dropped / e.samples, default=None)
        if unseen is not None and unseen.dropped >= SHARE * unseen.samples:
            return _unseen(unseen, Severity.WARNING)
        if single is not None and facts.several:
            return _single(single, facts, refused=False)
        if unseen is not None and unseen.dropped:
            return _unseen(unseen, Severity.NOTE)
        train = next((e for e in facts.loaders if e.phase == "train"), facts.loaders[0])
        return passed(
            f"{train.samples:,} samples in batches of {train.batch_size}: the last one "
            + ("is dropped." if train.dropped else f"holds {train.last}."),
            evidence=_evidence(train),
        )


def _empty(loader: LoaderEnd, facts: LastBatch) -> Verdict:
    effect = "so no batch ever comes" if facts.trained else "so nothing is trained"
    return failed(
        f"The loader has {loader.samples:,} samples, its batches hold {loader.batch_size:,}, and drop_last drops what does not fill one, {effect}.",
        severity=Severity.WARNING if facts.trained else Severity.ERROR,
        evidence={**_evidence(loader), "measured": 0, "expected": "one batch at least", "threshold": loader.batch_size},
        location=loader.where,
        fix=Fix(
            summary="Use smaller batches, or keep the last one.",
            code=f"DataLoader(data, batch_size={min(loader.samples, 32)})",
            edit=Edit(kind="drop-last", values={"drop": False}) if loader.samples > 1 else None,
        ),
    )


def _single(loader: LoaderEnd, facts: LastBatch, *, refused: bool) -> Verdict:
    layer = (facts.single if refused else facts.several)[0]
    effect = (
        f"{layer} has one value a channel there, which torch refuses: training stops at the end of the first epoch"
        if refused
        else f"{layer} normalises by the statistics of that one"
    )
    return failed(
        f"{loader.samples:,} samples in batches of {loader.batch_size} leave a last batch of one sample, and {effect}.",
        severity=Severity.WARNING if refused else Severity.NOTE,
        evidence={**_evidence(loader), "measured": 1, "expected": "2 or more", "threshold": 2, "layer": layer},
        location=loader.where,
        fix=Fix(
            summary="Drop the last batch in training.",
            code=f"DataLoader(train_set, batch_size={loader.batch_size}, shuffle=True, drop_last=True)",
            edit=Edit(kind="drop-last"),
        ),
    )


def _unseen(loader: LoaderEnd, severity: Severity) -> Verdict:
    which = "other ones in each pass" if loader.shuffled else "the same ones in each pass"
    return failed(
        f"drop_last leaves {loader.dropped:,} of {loader.samples:,} validation samples ({loader.dropped / loader.samples:.1%}) out, {which}.",
        severity=severity,
        evidence={**_evidence(loader), "measured": loader.dropped / loader.samples, "expected": 0, "threshold": SHARE},
        location=loader.where,
        fix=KEEP,
    )


def _evidence(loader: LoaderEnd) -> dict[str, Json]:
    return {"samples": loader.samples, "batch_size": loader.batch_size, "drop_last": loader.drop_last, "last_batch": loader.last}
