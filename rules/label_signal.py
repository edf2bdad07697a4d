"""Checks that the labels have something to do with the inputs they come with.

## What it checks

Up to 800 samples of the training data, and as many of the validation data, are read by index. A cheap probe (kernel ridge
regression on pooled pixels and edges, standardised columns, token counts or spectra; for masks a regression from a pixel's
surroundings) predicts each label from the *other* samples. Its held-out score is compared with that of permuted labels. Where it
finds nothing, the model itself is trained for a while on some samples and judged on the others.

- **Error**: labels show nothing, and there is proof that they were joined wrongly:
  they fit once they are moved by a few places, reversed, or put in numeric instead of alphabetic order; or masks fit their
  pictures once they are mirrored or turned; or a probe fitted on the other part of the data, or on the rest of the same
  dataset, where it works, predicts nothing here although the inputs look alike.
- **Error**: the collate function, handed the same samples in two orders, gives an input another label: it sorts one of the two alone.
- **Error**: what a model, a teacher, answered to the batches of an earlier pass is used in the loss by the number of the batch, in a pass whose
  batches hold other samples.
- **Error**: a contrastive loss over two views of each sample, whose targets do not follow the order in which the views were joined, takes
  rows of other samples for views of the same.
- **Error**: the tags of sequences are told by the token before or after theirs, and not by their own.
- **Error**: targets are the input's own tokens and are shifted twice, so that a model learns to name the token after the next. **Warning**: they
  are shifted once, by two places or more.
- **Error**: the dataset mirrors pictures at random, and the boxes or points in them stay where they were.
- **Warning**: a measured target stands in the input itself, at the same place in every sample: a window that is one step too long, a column that is
  the target.
- **Warning**: labels show clearly in validation samples, and not at all in training samples after their random augmentation.
- **Warning**: no relation is found in either part, although there are ample samples whose inputs lie close together; or the model,
  once it knows some hundred samples by heart, does no better than chance on others. Where pandas joins labels to inputs by index, of a table made
  anew from an array and one whose rows were shuffled, sorted or picked, that line is told; and so is the line that gives labels another order than
  inputs have which are rows of the same table (`groupby()` sorts its groups, `drop_duplicates()` leaves them as they come).
- **Not run**: no relation is found and there is no such proof. A cheap probe finds nothing in hard data either.

## Why it matters

When files are listed in one order and labels in another, or only one of the two is shuffled, training runs and the loss
falls a little: the model learns how frequent each class is, and then the noise. No change of model or learning rate helps.

## Example

```python
self.files = sorted(os.listdir(folder))  # img_1, img_10, img_100 …
self.labels = table["label"].tolist()  # in the order of the table: 1, 2, 3 …
```

## Fix

```python
self.files = table["file"].tolist()  # one row of one table holds both
self.labels = table["label"].tolist()
```

## Thresholds

- Signal: p < 0.01 (2.33 standard deviations from permuted labels).
- Another pairing is proof from 8 standard deviations on. Of the 15 pairings that are always tried, the best reached 3.4 in 50
  runs with random labels on each of digits, wine, breast cancer and iris of scikit-learn (250 samples at most); the right
  pairing of 150 irises reaches 12, of 250 digits 34.
- Labels and inputs that both come in stretches (users in ascending order, drawn negatives behind the plays) fit under any pairing that keeps the
  stretches. So less than half of the fit may be left when ten neighbours exchange labels; of 720 plays with
  negatives behind them 99 % was left, of clear classes that had slipped 2 to 15 %.
- Where each input is an id, or a few, no other pairing is tried, and no verdict rests on the other part where labels may say what two inputs have to
  do with each other: drawn negatives come in any order and by any frequency.
- Masks: from 25 % of samples on that fit better by 0.2 in correlation when turned, 8 standard deviations above the masks of
  other pictures.
- A probe from elsewhere is proof when the same number of samples should have shown 6 standard deviations and shows less
  than 2.33, and its predictions spread as much as at home (0.8 to 1.25 times): it knows such inputs. With a third of those four data
  sets shuffled the spread was 0.97 to 1.07; it was 0.66 and 0.73 where inputs, not labels, were drowned in noise.
- Warning: 500 samples, of which 100 have a neighbour at less than a fifth of the median distance with labels that agree as by
  chance, or pictures whose median neighbour lies within 0.5. Digits of scikit-learn lie at 0.42, bars at random places at 0.77.

- Tags: a table from token to tag, made from half of the sequences and tried on the others, must tell 40 % of what the most frequent tag leaves open
  by the token beside, at most half of that by the tag's own, and be 8 standard deviations (between sequences) better; no two tokens may
  tell half of it, as a space tells where words begin. Of 132 sets of tags by class, by context, from a hidden chain, as B and I of names, of
  letters and by the syntax of Python none was taken for shifted; of 100 by class or from a chain, moved by one, 94 were. Tags are moved
  as the loop moves them before the loss. Tags as many as tokens, next tokens, and tags of tokens that a model has not seen yet are left alone.
- Tokens ahead: of four tokens in two pairs of neighbours that are disturbed, each one's nearest prediction to change is that of a token two or
  more places on, and always as many. It is the next token where targets are shifted once, whatever the model. Steps with another loss over
  classes are left alone: models that predict several tokens ahead have one loss for each.
- Mirrored: two readings of one picture, on a grid of 16 by 16, correlate by 0.95 once one is mirrored and by 0.1 less as they are; in four
  pictures or more, and half of those read both ways, coordinates are equal that would have to move by a tenth of the picture. Boxes are
  four columns whose first corner lies before the second in all samples, points at least three pairs, all within the picture.
- Drowned by augmentation: 20 standard deviations expected from validation, less than 2.33 found.
- The model itself: less than 2.33 standard deviations below the loss with exchanged labels, after it has halved its loss on the
  samples that it was trained on; from 4 on it has learned something.
- Where inputs are ids, or several of one kind that a label may compare, nothing is concluded from fewer than half of the training samples: a
  matching task that a model learns from 4,000 pairs (AUC 0.72 on others) shows nothing in 448 of them.

## References

- Ojala, Garriga, Permutation tests for studying classifier performance: https://www.jmlr.org/papers/v11/ojala10a.html
- Zhang et al., Understanding deep learning requires rethinking generalization: https://arxiv.org/abs/1611.03530
- Golub, Heath, Wahba, Generalized cross-validation: https://doi.org/10.1080/00401706.1979.10489751
"""

from __future__ import annotations

import math

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Labels, Lesson, Mismatch, Repair, Signal
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._kept_answers import of_other_samples
from trainlint_rules._label_places import ahead, given_away, mirrored, shifted, torn
from trainlint_rules._label_words import SIGNAL_Z, WHAT, bars, evidence_of, words
from trainlint_rules._view_pairs import pairs_apart

#: Standard deviations from which another pairing, and the share of masks that fit when turned, is proof.
REPAIR_Z, TURNED = 8.0, 0.25
#: What a probe from elsewhere should have shown, and how far its predictions may spread against those at home.
EXPECTED_Z, ALIKE = 6.0, (0.8, 1.25)
#: What validation must show for augmented training samples that show nothing to be remarkable.
DROWNED_Z = 20.0
#: Samples, close neighbours and distance of neighbours that make the absence of a signal remarkable.
SAMPLES, CLOSE, NEAR = 500, 100, 0.5
#: Standard deviations from which the model's own training shows a relation, and the fewest samples that it must have learned by heart.
LEARNED_Z, LEARNED = 4.0, 100
#: Share of the training samples that must be learned where labels may compare inputs: a judgement.
PART = 0.5
#: How far the agreement of close neighbours may lie above chance.
BY_CHANCE = 0.05

#: How the name of a pairing ends that undoes an alphabetic order.
_NUMERIC = "in numeric instead of alphabetic order"


class LabelSignal(Rule):
    """Compares labels with what a cheap probe makes of the inputs."""

    code = "TL206"
    name = "label-signal"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Labels belong to the inputs they come with"
    why = "With labels of other samples a model learns how frequent the classes are and then noise, whatever its design."
    source = "Ojala, Garriga, Permutation tests for studying classifier performance: https://www.jmlr.org/papers/v11/ojala10a.html"
    requires = (Labels,)

    def judge(self, labels: Labels) -> Verdict:
        """Proof first, then absence."""
        if labels.kept is not None:
            return of_other_samples(labels.kept)
        if labels.views is not None and (verdict := pairs_apart(labels.views)) is not None:
            return verdict
        if labels.torn is not None:
            return torn(labels.torn)
        if labels.shifted is not None:
            return shifted(labels.shifted)
        if labels.ahead is not None:
            return ahead(labels.ahead)
        if labels.mirrored is not None:
            return mirrored(labels.mirrored)
        if labels.given_away is not None:
            return given_away(labels.given_away, (labels.where or {}).get("train"))
        for signal in labels.signals:
            if signal.repair is not None and _is_proof(signal, signal.repair):
                return _repaired(labels, signal, signal.repair)
        for signal in labels.signals:
            if signal.mismatch is not None and _contradicts(signal.mismatch):
                return _mismatched(labels, signal, signal.mismatch)
        if not labels.signals:
            return not_run("; ".join((labels.reasons or {}).values()) or "no labels could be read")
        found = [s for s in labels.signals if s.z > SIGNAL_Z]
        train = labels.signals[0]
        if train in found:
            return passed(words(train), evidence=evidence_of(train), details=(bars(labels),))
        val = next((s for s in labels.signals if s.phase == "val"), None)
        if val is not None and not train.relational and train.phase == "train" and _is_drowned(train, val):
            return _drowned(labels, train, val)
        if not found and any(_is_remarkable(s) for s in labels.signals):
            return _absent(labels, next(s for s in labels.signals if _is_remarkable(s)))
        if not found and labels.lesson is not None and (verdict := _lesson(labels, train, labels.lesson)):
            return verdict
        return not_run(
            f"a cheap probe finds no relation between the labels and the inputs of {train.samples:,} {WHAT[train.phase]} samples "
            f"(p = {train.p:.2g}), but it would miss a relation that is hard to learn"
        )


def _is_proof(signal: Signal, repair: Repair) -> bool:
    if signal.kind == "masks":
        return repair.share >= TURNED and repair.z >= REPAIR_Z
    return signal.z < SIGNAL_Z and repair.z >= REPAIR_Z


def _contradicts(mismatch: Mismatch) -> bool:
    nothing = mismatch.z < SIGNAL_Z and mismatch.own_z < SIGNAL_Z
    return nothing and mismatch.expected_z >= EXPECTED_Z and ALIKE[0] <= mismatch.confidence <= ALIKE[1]


def _is_drowned(train: Signal, val: Signal) -> bool:
    """Whether labels show in validation samples, which stand still, and not at all in as many augmented training samples."""
    expected = val.z * math.sqrt(min(1.0, train.samples / max(val.samples, 1)))
    return train.random and not val.random and train.kind == val.kind != "masks" and train.z < SIGNAL_Z and expected >= DROWNED_Z


def _is_remarkable(signal: Signal) -> bool:
    if signal.samples < SAMPLES or signal.kind == "masks" or signal.relational:
        return False
    close = signal.close_pairs >= CLOSE
    if close and signal.close_agree is not None and signal.close_chance is not None:
        return signal.close_agree < signal.close_chance + BY_CHANCE
    return signal.pictures and signal.nearest is not None and signal.nearest < NEAR


def _repaired(labels: Labels, signal: Signal, repair: Repair) -> Verdict:
    what = WHAT[signal.phase]
    if signal.kind == "masks":
        message = (
            f"{repair.share:.0%} of {signal.samples:,} {what} masks do not lie on their picture: they fit it with a correlation of {repair.score:.2f} "
            f"when turned or mirrored; as they come, masks fit with {signal.score:.2f}."
        )
        fix = Fix(
            summary="Draw each random flip or rotation once, and apply it to picture and mask together.",
            code="picture, mask = augment(torch.cat([picture, mask])).split([picture.shape[0], mask.shape[0]])",
            edit=Edit(kind="draw-once") if repair.stackable else None,
        )
    else:
        message = (
            f"The labels of {signal.samples:,} {what} samples have nothing to do with their inputs (p = {signal.p:.2g}), but fit them with "
            f"{repair.name}: held-out correlation {repair.score:.2f} instead of {signal.score:.2f}."
        )
        summary, edit = "Read each input together with its own label, by one key.", None
        if repair.name.endswith(_NUMERIC):
            summary = "Read each input together with its own label, by one key; where there is none, sort files by their numbers."
            edit = Edit(kind="natural-order")
        fix = Fix(summary=summary, code=_BY_KEY, edit=edit)
    return failed(
        message,
        severity=Severity.ERROR,
        evidence={
            **evidence_of(signal),
            "measured": repair.z,
            "expected": f"less than {REPAIR_Z:g} standard deviations for any other pairing",
            "threshold": REPAIR_Z,
            "as_they_come": signal.z,
            "repair": repair.name,
            "repaired_score": repair.score,
        },
        location=repair.where or _place(labels, signal.phase),
        fix=fix,
        details=(bars(labels, repair),),
    )


_FIX = "order = torch.randperm(len(inputs)).tolist()  # one order for both\ninputs, labels = [inputs[i] for i in order], [labels[i] for i in order]"
_BY_KEY = "samples = [(inputs_by_key[key], labels_by_key[key]) for key in keys]  # one key finds both"


def _mismatched(labels: Labels, signal: Signal, mismatch: Mismatch) -> Verdict:
    what = WHAT[signal.phase]
    some = f"the {mismatch.samples:,} {what} samples looked at"
    if mismatch.first is not None:
        some = f"{what} samples {mismatch.first:,} to {mismatch.last:,} of the dataset ({mismatch.samples:,} were read)"
    return failed(
        f"The labels of {some} have nothing to do with their inputs: a probe fitted on {mismatch.other} predicts held-out labels there "
        f"(correlation {mismatch.other_score:.2f}) and is as sure of these inputs, but fits their labels with {mismatch.score:.2f}.",
        severity=Severity.WARNING if signal.random else Severity.ERROR,
        evidence={
            **evidence_of(signal),
            "measured": mismatch.z,
            "expected": mismatch.expected_z,
            "correlation_here": mismatch.score,
            "correlation_elsewhere": mismatch.other_score,
        },
        location=_place(labels, signal.phase),
        fix=Fix(summary="Check how inputs and labels of this part are joined: same files, same order, shuffled together.", code=_FIX),
        details=(bars(labels),),
    )


def _drowned(labels: Labels, train: Signal, val: Signal) -> Verdict:
    return failed(
        f"After their random augmentation {train.samples:,} training samples show nothing of their labels (p = {train.p:.2g}), while validation "
        f"samples do (held-out correlation {val.score:.2f}): either the augmentation leaves too little of them, or their labels are wrong.",
        severity=Severity.WARNING,
        evidence={**evidence_of(train), "validation": val.score, "validation_z": val.z},
        location=(labels.where or {}).get("train"),
        fix=Fix(
            summary="Look at some augmented samples: can you still tell what they are? Crop, erase and rotate less.",
            code="transforms.RandomResizedCrop(size, scale=(0.6, 1.0))",
        ),
        details=(bars(labels),),
    )


def _absent(labels: Labels, signal: Signal) -> Verdict:
    near = (
        f": {signal.close_pairs:,} of them have a near twin, whose label agrees with theirs no more often than any other ({signal.close_agree:.0%})"
        if signal.close_pairs >= CLOSE and signal.close_agree is not None
        else ", although their pictures look alike enough to learn from"
    )
    return failed(
        f"No relation between labels and inputs is found in {signal.samples:,} {WHAT[signal.phase]} samples (p = {signal.p:.2g}){near}.",
        severity=Severity.WARNING,
        evidence=evidence_of(signal),
        location=_place(labels, signal.phase),
        fix=_same_order(labels, signal.phase),
        details=(bars(labels),),
    )


def _same_order(labels: Labels, phase: str) -> Fix:
    if (labels.joined or {}).get(phase) and not (labels.reordered or {}).get(phase):
        return Fix(
            summary="This line puts rows together by their index, which one of the two tables has lost: give it the index of the rows that it was made of.",
            code="features = pd.DataFrame(array, index=table.index)\ntable = features.join(table['label'])",
        )
    alone = (
        "This line gives another order to inputs alone, or to labels alone: give both the same. "
        if (labels.reordered or {}).get(phase)
        else ""
    )
    return Fix(
        summary=f"{alone}Look at some samples with their labels; check that both are read, sorted and shuffled in the same order.",
        code=_FIX,
    )


def _lesson(labels: Labels, train: Signal, lesson: Lesson) -> Verdict | None:
    """What the model's own short training says; None where it did not fit enough."""
    ways = f"trained for {lesson.steps} steps on {lesson.learned:,} samples"
    evidence: dict[str, Json] = {**evidence_of(train), "model_z": lesson.z, "held_out": lesson.held_out, "left": lesson.left}
    if lesson.z >= LEARNED_Z:
        return passed(
            f"A cheap probe finds nothing, but the model itself, {ways}, knows {lesson.held_out:,} others {lesson.z:.0f} standard deviations "
            "better than exchanged labels.",
            evidence=evidence,
        )
    if not lesson.by_heart or lesson.z >= SIGNAL_Z or lesson.learned < LEARNED:
        return None
    if lesson.relational and lesson.learned < PART * train.total:
        return not_run(
            f"neither a cheap probe nor the model itself, {ways}, finds a relation between labels and inputs, but one between ids, or between "
            f"two inputs, may take more of the {train.total:,} samples"
        )
    return failed(
        f"Labels show no relation to the inputs of {train.samples:,} {WHAT[train.phase]} samples (p = {train.p:.2g}), and the model itself, {ways} "
        f"until it knew them by heart, does no better than chance on {lesson.held_out:,} others: each label may belong to another sample.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=_place(labels, train.phase),
        fix=_same_order(labels, train.phase),
        details=(bars(labels),),
    )


def _place(labels: Labels, phase: str) -> Location | None:
    """The line that puts only inputs or only labels in another order, or joins them so, else the one that gives the labels."""
    return (labels.reordered or {}).get(phase) or (labels.joined or {}).get(phase) or (labels.where or {}).get(phase)
