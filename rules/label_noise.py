"""Lists training samples whose label the other samples contradict.

## What it checks

A cheap probe (see `label-signal`) predicts each of up to 800 training labels from the *other* samples. A sample is suspect when
another class is predicted at least as surely as that class's own members are on average (confident learning).

- **Warning**: there are clearly more suspects than samples between two classes: the classes are clear, and labels are wrong. The
  surest are listed and drawn.
- **Warning**: label maps of four classes and more in which single pixels between two classes have a class whose number lies between theirs: they
  were resized or rotated by interpolation, or saved with loss.
- **Note**: about as many, or equal pictures with different labels.
- **Not run**: the probe is no good on these inputs, or targets are no classes.

Classes that overlap pass: there, what looks like a wrong label is one of many samples between classes. So do two classes that the probe cannot tell
from each other, only from the rest, as where the order of words counts.

## Why it matters

A network learns wrong labels by heart late in training, at the cost of everything near them, and in validation they hide which
of two models is better. A few per cent are common in well-known data sets.

## Example

```python
labels = [int(row["label"]) for row in csv.DictReader(open("first_pass.csv"))]  # never checked
```

## Fix

```python
for index in suspects:  # look at them first
    show(train_set[index])
```

## Thresholds

- Suspects must be 2 % of the samples, and 1.25 times as many as samples between two classes, for a warning; 1 % and 0.9 times for a note.
  Measured on digits, wine, iris and breast cancer of scikit-learn and on normal clouds, 600 samples, 4 seeds: the ratio was 0 to 0.67
  with right labels (0.55 to 0.67 where clouds overlap most), and with 5 % of the labels exchanged at random 1.8 to 2.7 on digits, 1.0 to
  1.2 on breast cancer. 98 % of the suspects were exchanged ones then.
- Label maps: 200 single pixels between classes whose numbers differ by three or more, nine tenths of them with a number between, for three pairs
  of classes. A third is expected of classes in no order; maps resized bilinearly have nearly all. A judgement.
- Two classes are told apart where the probe has a balanced accuracy of 0.75 for them, half the way from chance to 1.
- The probe must be 5 standard deviations above permuted labels, with a balanced accuracy of at least half the way from
  chance to 1.

## References

- Northcutt, Jiang, Chuang, Confident learning: https://arxiv.org/abs/1911.00068
- Northcutt, Athalye, Mueller, Pervasive label errors in test sets: https://arxiv.org/abs/2103.14749
"""

from __future__ import annotations

from trainlint.details import Detail, Table
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import BetweenLabels, Labels
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: What the probe must reach: standard deviations above permuted labels, and how far from chance (0) to always right (1).
GOOD_Z, GOOD = 5.0, 0.5
#: Share of suspects, and their number against that of samples between two classes.
SHARE, RATIO = 0.02, 1.25
NOTE_SHARE, NOTE_RATIO = 0.01, 0.9
#: Share of samples between classes that is taken for granted, so that a few suspects on very clear classes are no news.
AT_LEAST = 0.005
#: Equal pictures with different labels that are worth a note.
TWINS = 2
#: Single pixels between two classes that are needed, the share of them with a number between, and pairs of classes among these.
THIN, BETWEEN, PAIRS = 200, 0.9, 3
#: Rows listed.
LISTED = 20


class LabelNoise(Rule):
    """Compares the number of contradicted labels with that of samples between classes."""

    code = "TL214"
    name = "label-noise"
    stage = Stage.DATA
    severity = Severity.WARNING
    summary = "The data itself contradicts hardly any of its labels"
    why = "Wrong labels are learned by heart at the cost of what lies near them, and hide which of two models is better."
    source = "Northcutt, Jiang, Chuang, Confident learning: https://arxiv.org/abs/1911.00068"
    requires = (Labels,)

    def judge(self, labels: Labels) -> Verdict:
        """Judge only where the probe is good; label maps by what lies between their classes."""
        if labels.between is not None:
            found = labels.between
            return _interpolated(labels, found) or passed(
                f"In {found.masks:,} training masks no border is labelled with a mean of its sides."
            )
        signal = next((s for s in labels.signals if s.phase == "train"), None)
        if signal is None:
            return not_run((labels.reasons or {}).get("train", "no training labels could be read"))
        if signal.kind != "classes" or labels.suspect_share is None or labels.ambiguous is None:
            return not_run("single labels are judged only for classes, one a sample")
        accuracy, chance = labels.held_out or 0.0, 1 / max(signal.classes or 2, 2)
        if signal.z < GOOD_Z or accuracy < chance + GOOD * (1 - chance):
            return not_run(
                f"a cheap probe predicts these classes with a balanced accuracy of {accuracy:.0%}, too little to doubt single labels"
            )
        share, ratio = labels.suspect_share, labels.suspect_share / max(labels.ambiguous, AT_LEAST)
        if share >= SHARE and ratio >= RATIO:
            return _noisy(labels, Severity.WARNING, ratio)
        if share >= NOTE_SHARE and ratio >= NOTE_RATIO:
            return _noisy(labels, Severity.NOTE, ratio)
        if signal.pictures and labels.twins_apart >= TWINS:
            return _twins(labels)
        return passed(
            f"{share:.1%} of {labels.looked_at:,} training labels are contradicted by the other samples, and {labels.ambiguous:.1%} lie between classes.",
            evidence=_evidence(labels, ratio),
            details=_details(labels),
        )


def _interpolated(labels: Labels, found: BetweenLabels) -> Verdict | None:
    if found.thin < THIN or found.between < BETWEEN * found.thin or found.pairs < PAIRS:
        return None
    return failed(
        f"Label maps were interpolated: in {found.masks:,} training masks of {found.classes} classes, {found.between:,} of {found.thin:,} single pixels "
        f"between two other classes have a class whose number lies between theirs. Nothing of it is there: borders are labelled with a mean.",
        severity=Severity.WARNING,
        evidence={
            "measured": found.between / found.thin,
            "expected": 1 / 3,
            "threshold": BETWEEN,
            "pairs": found.pairs,
            "pixels": found.thin,
        },
        location=(labels.where or {}).get("train"),
        fix=Fix(
            summary="Resize and rotate label maps with the nearest label.",
            code="mask = TF.resize(mask, size, interpolation=InterpolationMode.NEAREST)",
            edit=Edit(kind="nearest-labels"),
        ),
    )


def _noisy(labels: Labels, severity: Severity, ratio: float) -> Verdict:
    share = labels.suspect_share or 0.0
    twins = f" {labels.twins_apart} of them have a twin with the same input and another label." if labels.twins_apart else ""
    most = labels.suspects[0]
    return failed(
        f"About {share:.1%} of the training labels are contradicted by the other samples ({round(share * labels.looked_at)} of {labels.looked_at:,} "
        f"looked at), where {labels.ambiguous or 0:.1%} lie between classes. The surest: sample {most.index} is labelled {_name(labels, most.label)} and looks "
        f"like {_name(labels, most.predicted)} ({most.confidence:.0%}).{twins}",
        severity=severity,
        evidence=_evidence(labels, ratio),
        location=(labels.where or {}).get("train"),
        fix=Fix(
            summary="Look at the samples listed, and mend or drop what is wrong; if labels cannot be had better, use label smoothing or a robust loss.",
            code=f"for index in {[s.index for s in labels.suspects[:8]]}:\n    print(index, train_set[index])",
        ),
        details=_details(labels),
    )


def _twins(labels: Labels) -> Verdict:
    return failed(
        f"{labels.twins_apart} of {labels.looked_at:,} training samples have the same picture as another one, with a different label.",
        severity=Severity.NOTE,
        evidence={"measured": labels.twins_apart, "expected": 0, "threshold": TWINS},
        location=(labels.where or {}).get("train"),
        fix=Fix(
            summary="Keep one of each, with the right label.",
            code="samples = list({digest(picture): (picture, label) for picture, label in samples}.values())",
        ),
        details=_details(labels),
    )


def _evidence(labels: Labels, ratio: float) -> dict[str, Json]:
    return {
        "measured": labels.suspect_share,
        "expected": labels.ambiguous,
        "threshold": RATIO,
        "ratio": ratio,
        "samples": labels.looked_at,
        "probe_accuracy": labels.held_out,
    }


def _name(labels: Labels, label: float) -> str:
    return ((labels.names or {}).get("train") or {}).get(f"{label:g}", f"{label:g}")


def _details(labels: Labels) -> tuple[Detail, ...]:
    if labels.pictures is not None:
        return (labels.pictures,)
    if not labels.suspects:
        return ()
    rows = tuple(
        (s.index, _name(labels, s.label), _name(labels, s.predicted), round(s.confidence, 3), s.twin) for s in labels.suspects[:LISTED]
    )
    title = "Samples whose label the others contradict"
    return (Table(title=title, columns=("sample", "label", "looks like", "probability", "same input as"), rows=rows),)
