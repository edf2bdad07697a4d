"""Checks that the training loader hands out samples in a new, mixed order in every epoch.

## What it checks

The order of indices of two epochs, and the labels in that order.

- **Error**: the order is fixed and sorted by class, so that a batch holds one class or few (a runs test on the labels),
  and a classification loss, or one of the script's own, learns from them.
- **Warning**: the order is the same in every epoch (no `shuffle=True`, a permutation drawn once, a `DistributedSampler`
  whose `set_epoch` is never called), or labels come in long stretches. A stream of your own is told at the loop that hands its samples out.
- **Warning**: a sampler that draws anew fills each batch with a single class, of several that there are; an **error** when the loss is exactly
  0 in every step, as that of a metric which finds nobody to push apart.
- **Warning**: a sampler shuffles, then sorts (by length, most often), and hands out the batches from short to long: every epoch goes through the
  samples in nearly the same order, and labels come in stretches. Batches that are shuffled once cut, or sorted within a pool only, pass.
- **Error**: a `WeightedRandomSampler` was given a tenth as many weights as there are samples, or fewer: those of the classes, most likely.
  Only the first samples are ever drawn. **Warning**: half as many, or any sampler that draws the same few samples again and again.
- **Warning**: the same order of a sampler of your own that sets a seed each time it begins, or that draws only a part of the data.
- **Warning**: the generator that batches, or their order, are drawn from is seeded with the same number again and again in the loop that
  trains, as by an evaluation that is to be the same each time, and is not put back: the same batches follow each time.
- **Warning**: a skorch net was told to shuffle its validation loader, through which it predicts as well.
- **Note**: the same for text or signals without a label each, which a model that carries its state from batch to batch
  must read in order; and for any other sampler of your own.

Healthy and passed: datasets that draw a random sample for an index, a single batch that holds all data, a run of one
epoch over mixed data, samplers that weigh or group samples anew each epoch.

## Why it matters

Stochastic gradients are only right on average when samples are drawn at random. Sorted by class, each stretch pulls the
model towards one class and makes it forget the others; in a fixed order the same neighbours meet in every epoch, the
noise of the gradients repeats, and batch statistics are always those of the same groups.

## Example

```python
train_loader = DataLoader(train_set, batch_size=32)  # files were read class by class
```

## Fix

```python
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
```

With a `DistributedSampler`, call `sampler.set_epoch(epoch)` at the start of each epoch. Validation needs no shuffling.

## Thresholds

- Sorted: a Wald-Wolfowitz z of -6 or less (by chance once in 10 ** 9 orders), and either no more stretches than twice
  the classes or batches whose most frequent label takes up 70 % of the room between its overall share and 1.
- Sorted anew: a rank correlation of 0.9 or more between the samples' places in two epochs (batches in random order measure 0 +- 0.1), and at most half
  as many stretches of equal labels as expected, in ten batches or more.
- Few samples: a tenth or less as many different ones as were drawn, of 200 draws at least. Drawing as many as there are at random, with
  replacement, gives 63 %.
- Labels of at least 50 samples must be known to speak of sorting. When all that are known are of one class out of three
  or more, this is an error too; of two classes, where the other may be rare, a warning.

## References

- torch.utils.data.DataLoader, shuffle: https://docs.pytorch.org/docs/stable/data.html
- Bengio, Practical recommendations for gradient-based training, section 3.1: https://arxiv.org/abs/1206.5533
- torch.utils.data.distributed.DistributedSampler, set_epoch: https://docs.pytorch.org/docs/stable/data.html
- Wald, Wolfowitz, On a test whether two samples are from the same population, 1940: https://doi.org/10.1214/aoms/1177731909
"""

from __future__ import annotations

import itertools

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Batches, Loop, Loss, Optimizers, SampleOrder
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._drawn_orders import mixed, named, reseeded, sorted_anew
from trainlint_rules._inputs import main_input
from trainlint_rules._sample_orders import LABELS, evidence_of, one_class_each, picture_of

#: Wald-Wolfowitz z below which labels do not come in random order: once in 10 ** 9 by chance.
SORTED_Z = -6.0
#: Stretches per class that still are sorting rather than grouping.
STRETCHES = 2
#: How far batches fill up with one label: 0 as often as overall, 1 nothing else.
PURE = 0.7
#: Less than this and even sorted labels leave batches mixed enough.
MIXED = 0.2
#: A sampler that draws less than this share of the data leaves out more than a last batch.
PART = 0.9
#: Weights for each sample below which only a part of the data is drawn: for a warning, for an error; the same of different samples among
#: those drawn, and the fewest draws that tell.
HALF, FEW, DRAWS = 0.5, 0.1, 200

CLASS_LOSSES = ("cross_entropy", "nll_loss", "multi_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
#: Samplers whose order is nobody's design.
PLAIN_SAMPLERS = ("", "SequentialSampler", "RandomSampler", "SubsetRandomSampler", "DistributedSampler", "SeedableRandomSampler")


class Shuffle(Rule):
    """Looks at the order of samples, and of labels, in two epochs."""

    code = "TL210"
    name = "shuffle"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Training samples come in a new, mixed order in every epoch"
    why = "Gradients are right on average only when samples are drawn at random: sorted by class, each stretch unlearns the one before."
    source = "Bengio, Practical recommendations for gradient-based training, section 3.1: https://arxiv.org/abs/1206.5533"
    requires = (SampleOrder, Loss, Optimizers, Batches, Loop)

    def judge(self, order: SampleOrder, loss: Loss, optimizers: Optimizers, batches: Batches, loop: Loop) -> Verdict:
        """Judge sorting first, then repetition; both only where the order is no design."""
        if order.drawn:
            return reseeded(order) if order.reseeded else passed(f"Batches are drawn without a loader, from {named(order.drawn)}.")
        if order.predictions_mixed is not None:
            return mixed(order)
        if order.random_dataset:
            return passed("An index gives another sample each time, so the order is no fixed one.")
        if order.size is not None and order.batch_size is not None and order.size <= order.batch_size:
            return passed(f"All {order.size:,} samples are in one batch, so their order does not matter.")
        if verdict := _few(order):
            return verdict
        fixed = order.sequential if order.same_each_epoch is None else order.same_each_epoch
        if _in_stretches(order) and (fixed or order.iterable):
            return _sorted(order, learns_classes=not loss.calls or any(call.kind in CLASS_LOSSES for call in loss.calls))
        if fixed and (verdict := _one_class(order, loss)):
            return verdict
        if loop.accumulation < 2 and (verdict := one_class_each(order, loss)):
            return verdict
        if not fixed and (verdict := sorted_anew(order)):
            return verdict
        if order.iterable:
            return not_run("an IterableDataset decides on its order itself, and its labels show no sorting")
        if not fixed and order.same_each_epoch is None:
            return not_run("the order of a second epoch could not be read")
        if not fixed and order.reseeded and optimizers.epochs != 1:
            return reseeded(order)
        if not fixed:
            return passed(f"{order.sampler or 'The loader'} draws a new order in each epoch.", evidence=evidence_of(order))
        if optimizers.epochs == 1:
            return passed("The order is fixed, but there is only one epoch and labels are mixed.", evidence=evidence_of(order))
        return _same(order, _may_carry_state(order, batches))


def _few(order: SampleOrder) -> Verdict | None:
    """Catch samplers that reach a small part of the data only."""
    size, reach, drawn = order.size or 0, order.reach, len(order.first_epoch)
    different = len(set(order.first_epoch))
    where = order.sampler_where or order.where
    if reach is not None and 0 < reach < HALF * size:
        return failed(
            f"{order.sampler} was given {reach:,} weights for {size:,} samples: only the first {reach:,} samples are ever drawn, and the others are "
            "never trained on. It takes a weight for each sample, not for each class.",
            severity=Severity.ERROR if reach <= FEW * size else Severity.WARNING,
            evidence={
                "measured": reach,
                "expected": size,
                "threshold": HALF,
                "sampler": order.sampler,
                "different": different,
                "drawn": drawn,
            },
            location=where,
            fix=Fix(
                summary="Give each sample the weight of its class.",
                code="sample_weights = class_weights[labels]\nsampler = WeightedRandomSampler(sample_weights, num_samples=len(sample_weights))",
                edit=Edit(kind="weigh-samples"),
            ),
        )
    if drawn < DRAWS or different > FEW * min(drawn, size):
        return None
    return failed(
        f"{order.sampler or 'The loader'} draws only {different:,} different samples in {drawn:,}, of {size:,} that there are.",
        severity=Severity.WARNING,
        evidence={"measured": different, "expected": min(drawn, size), "threshold": FEW, "sampler": order.sampler},
        location=where,
        fix=Fix(
            summary="Let the sampler draw from all samples; of its weights hardly any may be zero.",
            code="sampler = WeightedRandomSampler(class_weights[labels], num_samples=len(labels))",
        ),
    )


def _in_stretches(order: SampleOrder) -> bool:
    return len(order.labels) >= LABELS and order.runs_z <= SORTED_Z


def _purity(order: SampleOrder) -> float:
    """How far batches hold more of one label than the data overall: 0 no more, 1 nothing else."""
    batch, overall = order.batch_label_share, order.overall_label_share
    return (batch - overall) / (1 - overall) if batch is not None and overall is not None and overall < 1 else 0.0


def _sorted(order: SampleOrder, *, learns_classes: bool) -> Verdict:
    classes, purity = len(set(order.labels)), _purity(order)
    blocks = order.label_runs <= STRETCHES * classes
    plain = order.sampler in PLAIN_SAMPLERS and not order.iterable
    certain = learns_classes and plain and (purity >= PURE or (blocks and purity >= MIXED))
    how = "sorted by class" if blocks else "in stretches of the same class"
    stretches = f"{order.label_runs} stretch{'es' if order.label_runs > 1 else ''}"
    share = f", and {order.batch_label_share:.0%} of a batch have the same label" if order.batch_label_share is not None else ""
    return failed(
        f"Training samples come {how}: {stretches} of equal labels in {len(order.labels):,} samples, "
        f"where {order.expected_runs:.0f} are expected in random order{share}.",
        severity=Severity.ERROR if certain else Severity.WARNING,
        evidence={**evidence_of(order), "measured": order.label_runs, "expected": round(order.expected_runs, 1), "threshold": SORTED_Z},
        location=order.streamed_where or order.where,
        fix=_fix(order),
        details=(picture_of(order),),
    )


def _one_class(order: SampleOrder, loss: Loss) -> Verdict | None:
    """Catch stretches so long that the samples looked at are all of one of the classes."""
    classes = max((call.classes or 0 for call in loss.calls if call.kind in CLASS_LOSSES), default=0)
    if len(order.labels) < LABELS or len(set(order.labels)) > 1 or classes < 2 or order.size is None or order.size <= len(order.labels):
        return None
    return failed(
        f"The first {len(order.labels):,} of {order.size:,} training samples all have label {order.labels[0]:g}, in every epoch: "
        "they seem to be sorted by class.",
        severity=Severity.ERROR if classes > 2 else Severity.WARNING,
        evidence={**evidence_of(order), "measured": 1, "expected": f"labels of {classes} classes", "threshold": SORTED_Z},
        location=order.streamed_where or order.where,
        fix=_fix(order),
    )


def _may_carry_state(order: SampleOrder, batches: Batches) -> bool:
    """Whether this can be text or a signal that is read on from batch to batch."""
    leaf = main_input(batches.train[0]) if batches.train else None
    return not order.labels and leaf is not None and leaf.kind in ("tokens", "sequence")


def _same(order: SampleOrder, carries_state: bool) -> Verdict:
    if order.distributed and order.set_epoch_called is False:
        message = "set_epoch() is never called, so the DistributedSampler repeats the same order in every epoch."
    else:
        message = f"The training loader hands out its {_count(order)}samples in the same order in every epoch."
    if carries_state:
        message += " That is right for a model that carries its state from batch to batch, and for no other."
    part = _is_part(order)
    if part:
        message = (
            f"{order.sampler} draws the same {order.epoch_size:,} of {order.size:,} samples in the same order in every epoch: "
            "the others are never trained on."
        )
    designed = carries_state or (order.sampler not in PLAIN_SAMPLERS and order.seeded_where is None and not part)
    return failed(
        message,
        severity=Severity.NOTE if designed else Severity.WARNING,
        evidence={**evidence_of(order), "measured": "the same order in every epoch", "expected": "a new order in every epoch"},
        location=order.seeded_where or order.where,
        fix=_fix(order),
        details=(picture_of(order),) if len(order.labels) >= LABELS else (),
    )


def _is_part(order: SampleOrder) -> bool:
    """Whether a sampler of the user's draws a part of the data, in no order of the data's own."""
    if order.size is None or order.epoch_size is None or order.sampler in PLAIN_SAMPLERS:
        return False
    rising = all(a < b for a, b in itertools.pairwise(order.first_epoch))
    return 1 < order.epoch_size < PART * order.size and not rising


def _count(order: SampleOrder) -> str:
    return f"{order.size:,} " if order.size is not None else ""


def _fix(order: SampleOrder) -> Fix:
    if order.distributed:
        return Fix(
            summary="Tell the sampler which epoch it is, so that each epoch gets its own order.",
            code="for epoch in range(epochs):\n    train_loader.sampler.set_epoch(epoch)",
            edit=Edit(kind="set-epoch"),
        )
    if order.iterable:
        return Fix(
            summary="Mix the files, or keep a buffer of samples and draw from it at random.",
            code="dataset = dataset.shuffle(buffer_size=10_000)",
        )
    if order.seeded_where is not None:
        return Fix(
            summary="Make the generator once, or add the number of the epoch to its seed: seeded anew, it draws the same order again.",
            code="generator = torch.Generator().manual_seed(self.seed + self.epoch)",
        )
    if order.sampler == "RandomSampler":
        return Fix(
            summary="Seed once, before the first epoch: a seed that is set in each epoch draws the same permutation again.",
            code="torch.manual_seed(seed)\nfor epoch in range(epochs):",
            edit=Edit(kind="seed-once"),
        )
    return Fix(
        summary="Let the training loader shuffle; validation needs no shuffling.",
        code=f"DataLoader(train_set, batch_size={order.batch_size or 32}, shuffle=True)",
        edit=Edit(kind="shuffle-loader"),
    )
