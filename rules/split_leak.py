"""Checks that validation samples are not training samples.

## What it checks

Each validation loader against the training loader that ran before it: by index where both hold parts of one dataset, else
by the content of samples, before any transform where the datasets can do without theirs.

- **Error**: some or all validation samples are training samples too, while the two parts are not the same.
- **Warning**: validation runs over exactly the training data; or few samples are in both; or many, where the script has built the loader
  but not come to use it.
- **Warning**: half or more of the validation windows of a series share half of their steps with a training window. They were cut
  before the split, with a step shorter than themselves, and split at random.
- **Warning**: one model is trained on in a loop over the folds of a splitter of scikit-learn, made before it and given no new weights in it, or a net of
  skorch with `warm_start`: what validates the second fold was trained on in the first. Not for folds that follow each other in time.
- **Note**: small samples that repeat about as often within the training data are in both.

A loader that is used for both, and training accuracy that is measured beside a validation of its own, pass. Blank pictures, short texts and
rows of few rounded numbers are not compared: equal ones mean nothing. Only folds that belong together are compared. Equal contents are told at
the line that splits what both parts are made of, where the source tells it: rows were repeated before it.

## Why it matters

Validation then tells how well the training data is remembered. It goes on improving while the model overfits, early stopping
never stops, and the model that is chosen is the one that remembers best.

## Example

```python
train_loader = DataLoader(full_set, batch_size=32, shuffle=True)
val_loader = DataLoader(Subset(full_set, val_indices), batch_size=64)
```

## Fix

```python
order = torch.randperm(len(full_set), generator=torch.Generator().manual_seed(0)).tolist()
train_set, val_set = Subset(full_set, order[n_val:]), Subset(full_set, order[:n_val])
```

Remove duplicates, and oversample or augment, only after the split and only in the training part. Split by patient,
speaker or document where there are several samples of each.

## Thresholds

- Error from 5 % of the validation samples on, warning from 1 % (and two samples). Barz and Denzler found 3 % of the test pictures of
  CIFAR-10 and 10 % of those of CIFAR-100 among the training pictures, near copies included; exact copies are far rarer.
- Samples of less than 40 bytes compressed are not compared, but for rows with two columns or more of measurements. Those of less than 256 must occur in validation twice as often as
  they repeat within the training data: short sentences and rows of a few rounded numbers repeat by nature. Not so when some column
  has another value in half of the different samples or more: measured numbers. Small pictures that repeat as often within training are a warning where three
  in ten of these differ or more (8 x 8 digits, oversampled before the split), and a note where they are a handful of patterns.

- Windows: half of them. A split by time has some at its border, one window's length of them; a random split has nearly all.

## References

- Kapoor, Narayanan, Leakage and the reproducibility crisis in machine-learning-based science: https://doi.org/10.1016/j.patter.2023.100804
- Barz, Denzler, Do we train on test data? https://arxiv.org/abs/1902.00423
- scikit-learn, Common pitfalls, data leakage: https://scikit-learn.org/stable/common_pitfalls.html
"""

from __future__ import annotations

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import CarriedOver, Shared, SplitOverlap
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of validation samples that are training samples: an error, a warning; and the fewest samples.
LEAK, SOME, FEWEST = 0.05, 0.01, 2
#: Compressed bytes below which samples repeat by nature, and how much more often than within training they must occur in validation.
SMALL, TIMES = 256, 2.0
#: Share of validation windows that overlap a training window from which the split is at random; a split by time has some at its border.
HALF = 0.5
#: Share of different numbers from which rows are measurements, which never repeat by chance.
MEASURED = 0.5
#: Share of different samples from which pictures are not a handful that is drawn again and again.
MANY = 0.3


class SplitLeak(Rule):
    """Counts validation samples that are in the training data."""

    code = "TL209"
    name = "split-leak"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "No validation sample is trained on"
    why = "Validation on training samples tells how well they are remembered, and overfitting goes unseen."
    source = "Kapoor, Narayanan, Leakage and the reproducibility crisis: https://doi.org/10.1016/j.patter.2023.100804"
    requires = (SplitOverlap,)

    def judge(self, overlap: SplitOverlap) -> Verdict:
        """A clean validation excuses a look at the training data beside it."""
        if overlap.carried is not None:
            return _carried(overlap.carried)
        if not overlap.pairs:
            return not_run(overlap.reason or "there is no validation data")
        clean = [pair for pair in overlap.pairs if _share(pair) < SOME]
        worst = max(overlap.pairs, key=lambda p: (p.how != "loader", p.how != "dataset", _share(p)))
        if worst.how == "loader":
            return passed("Validation runs over the training loader itself, so there is no split that could leak.")
        if clean and _is_whole(worst):
            return passed(f"{_words(clean[0])} Another loader measures on training data beside it.", evidence=_evidence(clean[0]))
        if worst.how == "dataset" or (worst.how == "content" and _is_whole(worst) and worst.val_total == worst.train_total):
            return _same(worst)
        if _share(worst) < SOME or worst.found < FEWEST:
            most = max(overlap.pairs, key=lambda p: p.overlapping / p.windows if p.windows else 0.0)
            return _windows(most) if most.windows and most.overlapping >= HALF * most.windows else _fine(worst)
        return _leak(worst)


def _carried(found: CarriedOver) -> Verdict:
    how = f"{found.name} keeps its weights from one fit to the next (warm_start)"
    if not found.warm_start:
        how = f"{found.name} is trained on in a loop over folds and begins none of them anew"
    fix = Fix(
        summary="Begin each fold with a new model and a new optimizer.",
        code="for train_rows, val_rows in folds.split(X, y):\n    model = Net()\n    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
    )
    if found.warm_start:
        fix = Fix(summary="Leave warm_start off, so that each fit begins anew.", code="net = NeuralNetClassifier(Net, warm_start=False)")
    return failed(
        f"{how}, so from the second fold on it has already trained on the samples that validate it.",
        severity=Severity.WARNING,
        evidence={"measured": "the same model in each fold", "expected": "a new one", "model": found.name},
        location=found.where,
        fix=fix,
    )


def _share(pair: Shared) -> float:
    return pair.found / pair.val_read if pair.val_read else 0.0


def _is_whole(pair: Shared) -> bool:
    return pair.found >= pair.val_read


def _same(pair: Shared) -> Verdict:
    return failed(
        f"Validation runs over the same {pair.val_total:,} samples as training, so its score is that of training.",
        severity=Severity.WARNING,
        evidence=_evidence(pair),
        location=pair.where,
        fix=_FIX,
    )


def _leak(pair: Shared) -> Verdict:
    by_nature = pair.how == "content" and pair.size < SMALL and pair.distinct < MEASURED and _share(pair) < TIMES * pair.repeated
    severity = Severity.ERROR if _share(pair) >= LEAK and not pair.waiting else Severity.WARNING
    if by_nature:  # pictures hardly repeat by chance, but by oversampling before the split
        severity = Severity.WARNING if pair.pictures and pair.different >= MANY else Severity.NOTE
    note = f" Within the training data {pair.repeated:.1%} repeat as well." if pair.repeated >= SOME else ""
    return failed(
        f"{_words(pair)}{note}",
        severity=severity,
        evidence=_evidence(pair),
        location=pair.where,
        fix=_FIX,
        details=(Table(title="Samples in both parts", columns=("validation sample", "training sample"), rows=pair.examples),),
    )


def _windows(pair: Shared) -> Verdict:
    return failed(
        f"{pair.overlapping:,} of {pair.windows:,} validation windows share half of their steps or more with a training window: windows of one series "
        "were split at random, so validation asks for what was trained on.",
        severity=Severity.WARNING,
        evidence=_evidence(pair) | {"measured": pair.overlapping / pair.windows, "threshold": HALF, "windows": pair.windows},
        location=pair.where,
        fix=Fix(
            summary="Split the series by time, before windows are cut, and leave a gap of one window between the parts.",
            code="cut = int(0.8 * len(series))\ntrain_set, val_set = Windows(series[:cut]), Windows(series[cut:])",
            edit=Edit(kind="split-in-order"),
        ),
    )


_FIX = Fix(
    summary="Split once, by index, before anything is oversampled or augmented; remove duplicates before the split.",
    code="order = torch.randperm(len(full_set)).tolist()\ntrain_set, val_set = Subset(full_set, order[n_val:]), Subset(full_set, order[:n_val])",
)


def _fine(pair: Shared) -> Verdict:
    compared = pair.val_read - pair.poor
    if compared <= 0:
        return not_run(f"the {pair.val_read:,} validation samples that were read hold too little for equal ones to mean anything")
    return passed(_words(pair), evidence=_evidence(pair))


def _words(pair: Shared) -> str:
    kind = "the same samples of one dataset" if pair.how == "indices" else "equal in content"
    read = pair.val_read - pair.poor
    poor = f"; {pair.poor:,} more hold too little to be compared" if pair.poor else ""
    limits = f" ({pair.train_read:,} of {pair.train_total:,} training samples were read)" if pair.train_read < pair.train_total else ""
    if not pair.found:
        return f"None of {read:,} validation samples is among {pair.train_read:,} training samples{limits}{poor}."
    return f"{pair.found:,} of {read:,} validation samples ({_share(pair):.1%}) are training samples too, {kind}{limits}{poor}."


def _evidence(pair: Shared) -> dict[str, Json]:
    return {
        "measured": _share(pair),
        "expected": 0.0,
        "threshold": LEAK,
        "found": pair.found,
        "validation_read": pair.val_read,
        "training_read": pair.train_read,
        "repeated_in_training": pair.repeated,
    }
