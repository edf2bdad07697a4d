"""Checks that training and validation agree about which label stands for which class.

## What it checks

- **Error**: both datasets name their classes, and the same name has different labels.
- **Error**: a cheap probe (see `label-signal`) that is fitted on training samples takes most validation samples of some classes for
  another class each, one to one, and hardly any for their own; the permutation is named.
- **Error**: validation labels are all training labels moved by a constant, and the probe finds the classes moved as well.
- **Warning**: validation labels are all training labels moved by a constant.
- **Warning**: labels show clearly in training and in validation, each by itself, but a probe fitted on training, as sure of
  validation inputs, is hardly better than chance there: each part has a vocabulary or an encoder of its own.

Classes that the probe confuses within the training data are never called moved. Datasets whose names do not overlap, and
validation on other classes (retrieval, few-shot), pass. Where classes look like others because colours are swapped, `channel-order` says so.

## Why it matters

Training looks perfect while validation accuracy stays near zero, or high for some classes and zero for others. It looks like
overfitting, and no regularisation helps.

## Example

```python
train_set = ImageFolder("data/train")  # cat, dog, horse
val_set = ImageFolder("data/val")  # a folder is missing or named otherwise: dog, horse
```

## Fix

```python
val_set.class_to_idx = train_set.class_to_idx
val_set.samples = val_set.make_dataset(val_set.root, train_set.class_to_idx, IMG_EXTENSIONS)
```

## Thresholds

- A class has moved when at least half of its validation samples (five or more) are taken for one other class and at most a
  fifth for itself, while the probe tells it from that class on held-out training samples; by chance and confusion of the probe less
  often than once in 1,000,000 for the least clear of the moved classes.
- Accuracy with the labels renamed must exceed that as given by 0.2, and reach half of the held-out accuracy in training.

- Hardly anything of training holds: a correlation of less than a third, where 6 standard deviations should show and do with a probe of
  validation's own, while predictions spread as much as at home (0.8 to 1.25 times). Random splits of digits, wine, breast cancer and
  iris of scikit-learn gave 0.96 to 1.02 of the training score, texts with a vocabulary of their own 0.25.

## References

- torchvision ImageFolder, class_to_idx: https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html
- Kuhn, The Hungarian method for the assignment problem: https://doi.org/10.1002/nav.3800020109
"""

from __future__ import annotations

from trainlint.details import Detail, Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import ClassMatch, ColourOrder, Labels, Mismatch
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._colours import swap

#: Probability by chance below which classes have moved.
BY_CHANCE = 1e-6
#: What renaming must gain in balanced accuracy, and the share of the training accuracy that it must reach.
GAIN, REACHED = 0.2, 0.5
#: Share of the training score that is little in validation; standard deviations that are sure; how far predictions may spread.
LITTLE, CLEAR_Z, ALIKE = 1 / 3, 6.0, (0.8, 1.25)
#: Classes that a sentence names.
NAMED = 6


class LabelMapping(Rule):
    """Compares class names, and classes by their looks."""

    code = "TL207"
    name = "label-mapping"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Training and validation mean the same class by the same label"
    why = "A class under another label in validation is scored as wrong however well it was learned."
    source = "torchvision ImageFolder, class_to_idx: https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html"
    requires = (Labels, ColourOrder)

    def judge(self, labels: Labels, colours: ColourOrder) -> Verdict:
        """Names first, then looks, then the sets of labels."""
        if verdict := _by_name(labels):
            return verdict
        if swap(colours):
            return not_run(
                "validation pictures have their colours in another order, as channel-order says, so classes cannot be told by their looks"
            )
        match = labels.match
        if match is not None and _moved(match):
            return _by_looks(labels, match)
        if shift := _shift(labels):
            return _shifted(labels, shift)
        if labels.transfer is not None and _is_foreign(labels.transfer):
            return _foreign(labels, labels.transfer)
        if match is not None and labels.names and len(labels.names) == 2:
            return passed("Class names and looks agree: a" + _agreement(match), details=(_table(labels, match),))
        if match is not None and match.as_given > _clear(match):
            return passed("A" + _agreement(match), evidence={"measured": match.as_given, "expected": match.held_out, "threshold": REACHED})
        if labels.names and len(labels.names) == 2:
            return passed("The class names of training and validation agree.")
        if match is None:
            return not_run(
                next(
                    filter(None, (labels.reasons or {}).values()), "there are no classes in training and validation that could be compared"
                )
            )
        return not_run("a cheap probe cannot tell the classes apart, and the datasets do not name them")


def _by_name(labels: Labels) -> Verdict | None:
    train, val = ((labels.names or {}).get(phase, {}) for phase in ("train", "val"))
    mine = {name: label for label, name in train.items()}
    theirs = {name: label for label, name in val.items()}
    differ = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    if not differ or len(mine) != len(train) or len(theirs) != len(val):
        return None
    match = labels.match
    if match is not None and match.as_given > _clear(match) and not _moved(match):
        return None  # labels are translated later on: by looks they agree
    named = ", ".join(f"{n} is {mine[n]} in training and {theirs[n]} in validation" for n in differ[:NAMED])
    return failed(
        f"{len(differ)} class{'es have' if len(differ) > 1 else ' has'} another label in validation than in training: {named}.",
        severity=Severity.ERROR,
        evidence={"measured": len(differ), "expected": 0, "threshold": 0},
        location=labels.apart or (labels.where or {}).get("val"),
        fix=_FIX,
        details=(_table(labels, match),) if match is not None else (),
    )


def _clear(match: ClassMatch) -> float:
    """The accuracy from which the probe knows the classes of validation: half of the way from chance to that in training."""
    chance = 1 / max(len(match.classes), 2)
    return chance + REACHED * max(match.held_out - chance, 0.2)


def _moved(match: ClassMatch) -> bool:
    better = match.as_matched - match.as_given
    return bool(match.moved) and match.p < BY_CHANCE and better >= GAIN and match.as_matched >= REACHED * match.held_out


def _by_looks(labels: Labels, match: ClassMatch) -> Verdict:
    pairs = [(c, m) for c, m in zip(match.classes, match.matched, strict=False) if c in match.moved]
    steps = {m - c for c, m in pairs}
    how = f"shifted by {-next(iter(steps)):+g}" if len(steps) == 1 and len(pairs) > 1 else "permuted"
    named = ", ".join(f"{_name(labels, 'val', c)} looks like training class {_name(labels, 'train', m)}" for c, m in pairs[:NAMED])
    return failed(
        f"Validation labels are {how} against training: {named}{', …' if len(pairs) > NAMED else ''}. A probe fitted on training samples is "
        f"{match.as_given:.0%} right on validation as it is, {match.as_matched:.0%} with the labels renamed ({match.held_out:.0%} on held-out training samples).",
        severity=Severity.ERROR,
        evidence={
            "measured": match.as_given,
            "expected": match.as_matched,
            "threshold": GAIN,
            "p": match.p,
            "samples": match.samples,
            "moved": len(pairs),
        },
        location=labels.apart or (labels.where or {}).get("val"),
        fix=_FIX,
        details=(_table(labels, match),),
    )


def _is_foreign(transfer: Mismatch) -> bool:
    """Whether hardly anything of what is learned from training holds in validation, although labels show in both and the inputs look alike."""
    clear = transfer.expected_z >= CLEAR_Z and transfer.own_z >= CLEAR_Z
    return clear and abs(transfer.score) < LITTLE * transfer.other_score and ALIKE[0] <= transfer.confidence <= ALIKE[1]


def _foreign(labels: Labels, transfer: Mismatch) -> Verdict:
    return failed(
        f"What training teaches hardly holds in validation: a probe fitted on training samples is as sure of {transfer.samples:,} validation inputs, but "
        f"predicts their labels with a correlation of {transfer.score:.2f} instead of {transfer.other_score:.2f}, although these show in validation by "
        "itself. Inputs are coded in another way there, by a vocabulary, encoder or table of its own, or are of another kind.",
        severity=Severity.WARNING,
        evidence={
            "measured": transfer.score,
            "expected": transfer.other_score,
            "threshold": LITTLE,
            "z": transfer.z,
            "own_z": transfer.own_z,
            "confidence": transfer.confidence,
            "samples": transfer.samples,
        },
        location=(labels.built or labels.where or {}).get("val"),
        fix=Fix(
            summary="Build vocabularies, encoders and scalers from the training data once, and use them for both parts.",
            code="vocab = build_vocab(train_texts)\ntrain_set, val_set = Texts(train_texts, vocab), Texts(val_texts, vocab)",
            edit=Edit(kind="transform-only"),
        ),
    )


_FIX = Fix(
    summary="Make the table from class to label once, from the training data, and use it for both parts.",
    code="class_to_idx = {name: i for i, name in enumerate(sorted(train_classes))}\nval_set = MyDataset(val_root, class_to_idx=class_to_idx)",
    edit=Edit(kind="transform-only"),
)


def _shift(labels: Labels) -> float | None:
    """The constant by which all validation labels are moved, or None."""
    train, val = labels.train_labels, labels.val_labels
    if not labels.unseen or len(train) != len(val) or len(train) < 2:
        return None
    steps = {b - a for a, b in zip(train, val, strict=True)}
    return next(iter(steps)) if len(steps) == 1 else None


def _shifted(labels: Labels, shift: float) -> Verdict:
    train, val = labels.train_labels, labels.val_labels
    return failed(
        f"Training labels run from {train[0]:g} to {train[-1]:g}, validation labels from {val[0]:g} to {val[-1]:g}: they are shifted by {shift:+g}.",
        severity=Severity.WARNING,
        evidence={"measured": shift, "expected": 0, "threshold": 0},
        location=labels.apart or (labels.where or {}).get("val"),
        fix=_FIX,
    )


def _agreement(match: ClassMatch) -> str:
    return (
        f" probe fitted on training samples is {match.as_given:.0%} right on {match.samples:,} validation samples "
        f"({match.held_out:.0%} on held-out training samples), and no class looks like another."
    )


def _name(labels: Labels, phase: str, label: float) -> str:
    name = ((labels.names or {}).get(phase) or {}).get(f"{label:g}")
    return f"{label:g} ({name})" if name else f"{label:g}"


def _table(labels: Labels, match: ClassMatch) -> Detail:
    rows = tuple((_name(labels, "val", c), _name(labels, "train", m)) for c, m in zip(match.classes, match.matched, strict=False))
    return Table(title="Classes by their looks", columns=("validation class", "looks like training class"), rows=rows[:50])
