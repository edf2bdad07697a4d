"""Finds labels so uneven that a model can win by ignoring the rare ones.

## What it checks

The labels of the training part are counted in a scan of the loader. Where one class outweighs another by far, something
should make up for it: class weights or `pos_weight` in the loss, a weighted sampler, or a loss of the script's own.

- **Warning**: a ratio of 15 or more, one class that holds at least half of all samples, and nothing that makes up for it;
  classes that occur in validation but never in training; a single class; a language model scored on targets of which
  half or more are one token (padding that counts in the loss).
- **Warning**: weights that are those of other classes: sorted they are the inverse of the frequencies (or its root) within 15 %, as they stand they
  differ from it by half and more.
- **Warning**: weights that make it worse. Class weights that grow with the frequency of the class instead of falling, or a
  `pos_weight` ten times as large as negatives outnumber positives, or as small. The line that works them out is told, where the source tells it.
- **Note**: a ratio of 50 or more without a dominating class (a long tail), multi-label targets of which less than 1 % are
  positive, or classes that are missing from a validation part that was read to its end.

Not judged: other losses over positions (pixels, tags), whose classes are uneven by nature; losses that are not reduced by
the loss function, which a script may weigh itself; several optimizers.

## Why it matters

With 3 % positives, answering "no" to everything is 97 % right. The loss falls, accuracy looks splendid from the first
epoch, and the model finds hardly any of the cases it is built for.

## Example

```python
criterion = nn.BCEWithLogitsLoss()  # 3 % of the labels are 1
```

## Fix

Weigh the rare class up, or draw it more often, and judge by balanced accuracy, average precision or recall.

```python
positives = labels.sum()
criterion = nn.BCEWithLogitsLoss(pos_weight=(len(labels) - positives) / positives)
```

A weighted loss no longer gives calibrated probabilities. If you need those, leave the loss as it is and move the
decision threshold instead; then ignore this rule.

## Thresholds

- Ratio 15 (a rare class of 6 % of two): Buda et al. find that accuracy of CNNs suffers from ratios of 10 on and heavily
  from 50 on. The healthy pipelines measured reach 1.7.
- At least 100 labels must have been counted. A token with half of all positions: the most frequent character of
  English text, the space, has less than a fifth. A vocabulary: 10 tokens, the digits. Judgements.
- Weights that even classes out are proportional to 1 / frequency, a slope of -1 on logarithmic scales, and equal weights have a slope
  of 0. Upside down: a slope of 0.5 or more along a straight line (correlation 0.95), over weights that differ by a factor of 2.
- `pos_weight` evens out when it is negatives / positives. At ten times that, a constant answer is best at a probability of
  10 / 11 whatever the data holds; at a tenth at 1 / 11.

## Options

- `ratio` (15): how many times rarer than a dominant class the rarest may be.
- `tail-ratio` (50): the same where no class dominates.

## References

- Buda, Maki, Mazurowski, A systematic study of the class imbalance problem in CNNs, 2018: https://arxiv.org/abs/1710.05381
- Google, Datasets: class-imbalanced datasets: https://developers.google.com/machine-learning/crash-course/overfitting/imbalanced-datasets
- torch.nn.BCEWithLogitsLoss, pos_weight: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import correlation, linear_regression

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Batches, DataScan, LabelCount, Leaf, Loss, LossCall, SampleOrder
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._class_weights import out_of_order
from trainlint_rules._inputs import main_input
from trainlint_rules._label_counts import DRAWN, bars, class_name, extremes, pos_weight_of

#: Most frequent over rarest class: Buda et al. see harm from 10 on.
RATIO = 15.0
#: The same for a long tail, in which no class dominates.
TAIL_RATIO = 50.0
#: Share from which a class dominates.
DOMINANT = 0.5
#: Share of positives in multi-label targets below which they are rare.
RARE_POSITIVES = 0.01
#: Tokens from which a vocabulary is one of text; with fewer, half of all positions can be of one kind by nature.
VOCABULARY = 10
#: Labels that must have been counted.
LABELS = 100
#: Slope of class weights over frequencies, both in logarithms, their correlation, and the factor that they span, from which they are upside down.
SLOPE, STRAIGHT, SPAN = 0.5, 0.95, 2.0
#: How many times too large or too small a pos_weight is that makes matters worse.
TOO_MUCH = 10.0
#: Positives that a batch must hold for its share to say something of the data.
POSITIVES = 5


@dataclass(frozen=True)
class Options:
    """How uneven classes may be."""

    ratio: float = RATIO
    tail_ratio: float = TAIL_RATIO


BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
CLASSES = ("cross_entropy", "nll_loss", "multi_margin_loss")
#: Samplers that draw every sample alike.
EVEN_SAMPLERS = ("", "RandomSampler", "SequentialSampler", "SubsetRandomSampler", "DistributedSampler", "SeedableRandomSampler")


class ClassImbalance(Rule):
    """Counts labels and looks for anything that makes up for uneven ones."""

    code = "TL208"
    name = "class-imbalance"
    stage = Stage.DATA
    severity = Severity.WARNING
    summary = "Classes are even enough, or loss or sampler make up for it"
    why = "Where one class dominates, a model that ignores the others has a low loss and a splendid accuracy, and is useless."
    source = "Buda et al., A systematic study of the class imbalance problem in CNNs: https://arxiv.org/abs/1710.05381"
    requires = (Loss, DataScan, SampleOrder, Batches)
    Options = Options
    blocked_by = ("label-range",)

    def judge(self, loss: Loss, scan: DataScan, order: SampleOrder, batches: Batches) -> Verdict:
        """Judge the labels of the one classification loss; first its balance, then what validation holds."""
        call = next((c for c in loss.calls if c.kind in (*BINARY, *CLASSES)), None)
        if call is None:
            return not_run("no classification loss is called, so there are no classes to count")
        if order.drawn:
            return not_run("the script trains without a DataLoader, so how often each class is drawn is in its own hands")
        if loss.optimizers > 1:
            return not_run("several optimizers take turns, so the labels counted need not be those that the loss sees")
        if call.target_is_probabilities and call.kind not in BINARY:
            return not_run("targets are probabilities (mixup, soft labels), which have no counts")
        leaf = main_input(batches.train[0]) if batches.train else None
        if call.elements > (leaf.shape[0] if leaf and leaf.shape else call.batch_size) > 0:
            return _padding(call, leaf) or _many_targets(call)
        train = next((c for c in scan.labels if c.phase == "train" and _fits(c, call)), None)
        if train is None or sum(train.counts.values()) < LABELS:
            seen = sum(train.counts.values()) if train else 0
            return not_run(f"only {seen} labels could be counted, fewer than the {LABELS} that are needed")
        if order.iterable and not train.complete:
            return not_run("only the beginning of an IterableDataset was read, which need not be like the rest")
        val = next((c for c in scan.labels if c.phase == "val" and c.path == train.path), None)
        return (
            _single(train, scan, call)
            or out_of_order(train.counts, call)
            or upside_down(train.counts, call)
            or pos_weighted(train.counts, call)
            or _uneven(train.counts, call, loss, order, self.options)
            or _missing(train, val, scan, call)
            or _fine(train.counts, call, order)
        )


def _fits(count: LabelCount, call: LossCall) -> bool:
    """Whether these labels can be what the loss was given."""
    values = {float(value) for value in count.counts}
    high = 1 if call.kind in BINARY else (call.classes or math.inf) - 1
    whole = all(value.is_integer() and 0 <= value <= high for value in values)
    return bool(values) and whole and {float(value) for value in call.target_values or {}} <= values


def _single(train: LabelCount, scan: DataScan, call: LossCall) -> Verdict | None:
    if len(train.counts) > 1 or not train.complete:
        return None
    (label, count), *_ = train.counts.items()
    return failed(
        f"All {count:,} training labels are {class_name(label)}, so there is nothing to tell apart.",
        severity=Severity.WARNING,
        evidence={"measured": 1, "expected": call.classes or 2, "threshold": 2, "labels": count},
        location=(scan.asked or {}).get("train") or (scan.where or {}).get("train") or call.where,
        fix=Fix(
            summary="Check where labels are read and how they are turned into classes; where only positives are kept, draw negatives.",
            code="print(torch.bincount(train_labels))",
        ),
    )


def upside_down(counts: Mapping[str, int], call: LossCall) -> Verdict | None:
    """Class weights that grow with the frequency of the class."""
    weights = call.class_weights
    pairs = [
        (math.log(n), math.log(weights[int(float(c))]))
        for c, n in counts.items()
        if n and 0 <= float(c) < len(weights) and weights[int(float(c))] > 0
    ]
    if len(pairs) < 2:
        return None
    frequency, weight = zip(*pairs, strict=True)
    if min(max(v) - min(v) for v in (frequency, weight)) < math.log(SPAN):
        return None
    slope, straight = linear_regression(frequency, weight).slope, correlation(frequency, weight)
    if slope < SLOPE or straight < STRAIGHT:
        return None
    _, (common, most), (rare, least) = extremes(counts)
    return failed(
        f"Class weights grow with frequency: class {common} has {most:,} labels and weighs {weights[int(common)]:.3g}, class {rare} has "
        f"{least:,} and weighs {weights[int(rare)]:.3g}. They make rare classes count even less.",
        severity=Severity.WARNING,
        evidence={"measured": slope, "expected": -1.0, "threshold": SLOPE, "correlation": straight, "weights": list(weights[:DRAWN])},
        location=call.weighed_where or call.built_where or call.where,
        fix=Fix(
            summary="Weigh each class by the inverse of its frequency.",
            code="counts = torch.bincount(train_labels)\ncriterion = nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))",
        ),
        details=(bars(counts),),
    )


def pos_weighted(counts: Mapping[str, int], call: LossCall) -> Verdict | None:
    """A pos_weight far from negatives / positives."""
    positives = sum(count for value, count in counts.items() if float(value) == 1)
    if call.pos_weight is None or positives < POSITIVES or {float(value) for value in counts} != {0.0, 1.0}:
        return None
    even = pos_weight_of(counts)
    times = call.pos_weight / even
    if 1 / TOO_MUCH < times < TOO_MUCH or (times < 1 and even < TOO_MUCH):
        return None
    share = times / (1 + times)
    return failed(
        f"pos_weight is {call.pos_weight:.3g}, where negatives outnumber positives {even:.3g} times: a model that knows nothing of the inputs "
        f"does best when it always answers with a probability of {share:.1%}.",
        severity=Severity.WARNING,
        evidence={"measured": call.pos_weight, "expected": even, "threshold": TOO_MUCH, "positives": positives},
        location=call.weighed_where or call.built_where or call.where,
        fix=Fix(
            summary="Weigh positives by the number of negatives for each positive, not by a count.",
            code="positives = labels.sum(0)\ncriterion = nn.BCEWithLogitsLoss(pos_weight=(len(labels) - positives) / positives)",
        ),
    )


def _uneven(counts: Mapping[str, int], call: LossCall, loss: Loss, order: SampleOrder, allowed: Options) -> Verdict | None:
    total, (common, most), (rare, least) = extremes(counts)
    ratio, dominant = most / least, most / total >= DOMINANT
    threshold = allowed.ratio if dominant else allowed.tail_ratio
    if len(counts) == 1 or ratio < threshold or _made_up(loss, order):
        return None
    message = (
        f"Class {rare} has {least:,} of {total:,} training labels ({least / total:.1%}), class {common} has {most:,}, "
        "and neither loss nor sampler makes up for it"
    )
    fix = (
        Fix(
            summary="Weigh positives up by the ratio of negatives to positives, and watch recall or average precision instead of accuracy.",
            code=f"criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor({pos_weight_of(counts):.3g}))",
            edit=Edit(kind="pos-weight", values={"weight": pos_weight_of(counts)})
            if call.kind == "binary_cross_entropy_with_logits"
            else None,
        )
        if call.kind in BINARY
        else Fix(
            summary="Weigh classes by the inverse of their frequency, or draw rare ones more often, and watch balanced accuracy.",
            code="counts = torch.bincount(train_labels)\ncriterion = nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))",
        )
    )
    return failed(
        f"{message}: always answering {common} is {most / total:.1%} right." if dominant else f"{message}.",
        severity=Severity.WARNING if dominant else Severity.NOTE,
        evidence={"measured": ratio, "expected": 1.0, "threshold": threshold, "labels": total},
        location=call.built_where or call.where,
        fix=fix,
        details=(bars(counts),),
    )


def _made_up(loss: Loss, order: SampleOrder) -> bool:
    """Whether weights, a sampler or code of the script's own even the classes out."""
    if any(c.weighted or c.reduction == "none" for c in loss.calls) or order.sampler not in EVEN_SAMPLERS:
        return True
    drawn: dict[str, int] = {}
    for label in order.labels:
        drawn[f"{label:g}"] = drawn.get(f"{label:g}", 0) + 1
    return len(order.labels) >= LABELS and len(drawn) > 1 and max(drawn.values()) / min(drawn.values()) < RATIO / 2


def _missing(train: LabelCount, val: LabelCount | None, scan: DataScan, call: LossCall) -> Verdict | None:
    """Classes of one part that the other lacks; parts without a common class are split by class on purpose."""
    if val is None or not train.counts.keys() & val.counts.keys():
        return None
    unlearned = sorted(val.counts.keys() - train.counts.keys(), key=float) if train.complete else []
    unjudged = sorted(train.counts.keys() - val.counts.keys(), key=float) if val.complete else []
    if not unlearned and not unjudged:
        return None
    phase, classes, other = ("train", unlearned, "training") if unlearned else ("val", unjudged, "validation")
    names = ", ".join(map(class_name, classes[:8])) + (", …" if len(classes) > 8 else "")
    share = sum(val.counts[c] for c in unlearned) / sum(val.counts.values())
    harm = f", yet {share:.1%} of validation labels are of them" if unlearned else ", so nothing tells how well they are learned"
    return failed(
        f"{len(classes)} of {len(train.counts.keys() | val.counts.keys())} classes never occur in {other} ({names}){harm}.",
        severity=Severity.WARNING if unlearned else Severity.NOTE,
        evidence={"measured": len(classes), "expected": 0, "threshold": 0},
        location=(scan.where or {}).get(phase) or call.where,
        fix=Fix(
            summary="Split by class, so that each part holds every class.",
            code="train_idx, val_idx = train_test_split(range(len(labels)), test_size=0.2, stratify=labels)",
        ),
        details=(bars(train.counts),),
    )


def _padding(call: LossCall, leaf: Leaf | None) -> Verdict | None:
    """Catch a token that dominates what a language model is scored on; other classes of tokens have a vocabulary of their own."""
    classes = call.classes or 0
    text = leaf is not None and leaf.kind == "tokens" and leaf.maximum < classes and classes >= VOCABULARY
    if not text or call.weighted or call.reduction == "none":
        return None
    counts = {float(value): count for value, count in (call.target_values or {}).items() if float(value) != call.ignore_index}
    token = max(counts, key=counts.__getitem__, default=0.0)
    share = counts[token] / sum(counts.values()) if counts else 0.0
    if share < DOMINANT:
        return None
    return failed(
        f"{share:.0%} of the tokens that the loss scores are token {token:g}: most of what is learned is to predict it, probably padding.",
        severity=Severity.WARNING,
        evidence={"measured": share, "expected": "no token that dominates", "threshold": DOMINANT, "token": token},
        location=call.built_where or call.where,
        fix=Fix(
            summary="Leave padding out of the loss.",
            code=f"loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index={token:g})",
            edit=Edit(kind="ignore-index", values={"index": f"{token:g}", "loss": call.kind}),
        ),
    )


def _many_targets(call: LossCall) -> Verdict:
    """Multi-label targets, and classes of pixels or tokens, which are uneven by nature."""
    counts = {float(value): count for value, count in (call.target_values or {}).items()}
    total = sum(counts.values())
    if call.kind not in BINARY or not total or not set(counts) <= {0.0, 1.0}:
        return passed("The loss scores every position of a sample, whose classes are uneven by nature.")
    if verdict := pos_weighted(call.target_values or {}, call):
        return verdict
    positive = counts.get(1.0, 0) / total
    if call.weighted or call.reduction == "none" or not 0 < positive < RARE_POSITIVES:
        return passed(f"{positive:.1%} of the targets of the first batch are positive.", evidence={"measured": positive})
    return failed(
        f"Only {positive:.2%} of the targets of the first batch are positive, and the loss is not weighted.",
        severity=Severity.NOTE,
        evidence={"measured": positive, "expected": 0.5, "threshold": RARE_POSITIVES},
        location=call.where,
        fix=Fix(
            summary="If the outputs fade to zero everywhere, weigh positives up or use a focal or asymmetric loss.",
            code=f"criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor({(1 - positive) / positive:.3g}))",
        ),
    )


def _fine(counts: Mapping[str, int], call: LossCall, order: SampleOrder) -> Verdict:
    total, (common, most), (rare, least) = extremes(counts)
    how = ", evened out by weights in the loss" if call.weighted else ""
    how = how or (f", drawn by {order.sampler}" if order.sampler not in EVEN_SAMPLERS else "")
    return passed(
        f"{len(counts)} classes in {total:,} training labels, from {least:,} (class {rare}) to {most:,} (class {common}){how}.",
        evidence={"measured": most / least, "threshold": RATIO, "labels": total},
        details=(bars(counts),),
    )
