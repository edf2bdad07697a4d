"""Checks that a validation sample is the same each time it is read.

## What it checks

A few validation samples are read three times under different seeds of torch, numpy and Python, and the readings are compared.
Training data is expected to vary, so only data that is not trained on is judged so.

- **Warning**: inputs vary while what the model is to say about them stays: random crops, flips, erasing, noise, dropped words.
  Also a class label that varies while its input stays, and samples that change because reading them changes the stored data in place
  (`x = self.data[i]; x -= mean`): then the line that does so is named. That is looked for in training data too, and there random masks that
  are written into what the dataset holds (`x = self.data[i]; x[a:b] = 0`), so that they pile up from epoch to epoch.
- **Warning**: batches that stay, and that a hook of Lightning's (`on_after_batch_transfer`, `on_before_batch_transfer`) changes at random while
  validating too: it is called on some validation samples as in validation, under different seeds.
- **Note**: an index gives another sample each time, or a picture and its target-picture vary together: the validation loss then is
  an estimate with noise.

Healthy and passed: shuffled validation, tokens masked at random (masked language models are validated so), noise that is
the task (denoising, autoencoders), validation without targets (generators, contrastive views), variation too small to matter.

## Why it matters

Random augmentation makes samples harder, so validation looks worse than the model is, and its value jumps from epoch to epoch. The
best epoch, early stopping and schedules that watch validation then follow dice. The usual cause is one dataset with an
augmenting transform that is split afterwards: both parts share the transform.

## Example

```python
data = ImageFolder("photos", transform=augment)
train_set, val_set = random_split(data, [0.8, 0.2])
```

## Fix

Build the dataset twice, each with its own transform, and split both by the same indices.

```python
train_set = Subset(ImageFolder("photos", transform=augment), train_indices)
val_set = Subset(ImageFolder("photos", transform=plain), val_indices)
```

Augmentation at test time, averaged over several views of a sample, is fine: then ignore this rule.

## Thresholds

- Readings of one sample that are on average closer than 1 % of the distance between different samples do not count. Measured on
  scikit-learn's digits: a horizontal flip 0.46, erasing a tenth of the picture 0.27, jitter of brightness and contrast by 10 % 0.11,
  rotation by up to 10 degrees 0.08; dither of half a grey level of 255 is 0.005.
- Another sample: a reading is found again among samples of its own label less than half way from chance to always, and no random
  transform is found. In the same measurement flips, rotation, jitter and erasing gave 0.86 and more, shifts and crops by one of
  eight pixels 0.68 and more; noise alone 0.09, class centres with noise drawn anew 0.06.

## References

- PyTorch, Transfer learning tutorial, whose validation transform has no random part: https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
- torchvision, Transforming images: https://docs.pytorch.org/vision/stable/transforms.html
- Shanmugam et al., Better aggregation in test-time augmentation, 2021: https://arxiv.org/abs/2011.11156
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Overwritten, Repeat, Repeats
from trainlint.rule import Rule, Verdict, failed, passed

#: Distance between readings over that between samples, below which variation is too small to matter.
NEGLIGIBLE = 0.01
#: How far readings are known again among samples of their label, below which they are of different samples.
ANOTHER = 0.5


_COPY = Fix(
    summary="Change a copy: rows of arrays and tensors are views, and -=, /= and functions that work in place write through them.",
    code="image = self.images[index].copy()  # clone() for a tensor",
    edit=Edit(kind="not-in-place"),
)


class EvalAugment(Rule):
    """Looks for validation inputs that vary while their targets stay."""

    code = "TL212"
    name = "eval-augment"
    stage = Stage.DATA
    severity = Severity.WARNING
    summary = "A validation sample is the same each time it is read"
    why = "Augmented validation samples are harder and never the same twice: the measured quality is too low and jumps, and so does the choice of the best epoch."
    source = "torchvision, Transforming images: https://docs.pytorch.org/vision/stable/transforms.html"
    requires = (Repeats,)

    def judge(self, repeats: Repeats) -> Verdict:
        """Tell augmentation from noise that belongs to the task."""
        if repeats.worn is not None:
            return _worn(repeats.worn)
        used = [leaf for leaf in repeats.leaves if leaf.role != "other"]
        inputs = [leaf for leaf in used if leaf.role == "input"]
        targets = [leaf for leaf in used if leaf.role == "target"]
        moving = [leaf for leaf in inputs if _varies(leaf)]
        answers = [leaf for leaf in targets if _varies(leaf)]
        read = max((leaf.samples for leaf in repeats.leaves), default=0)
        if not moving and not answers:
            return passed(f"{read} validation samples were the same in three readings under different seeds.", evidence=_evidence(used))
        if not moving:
            return _answers(repeats, answers)
        if not targets:
            return passed("Validation inputs vary from reading to reading, and no target is compared with them.", evidence=_evidence(used))
        main = max(moving, key=lambda leaf: leaf.change)
        alike = [leaf for leaf in targets if leaf.shape == main.shape]
        if alike and (main.kind == "tokens" or not any(_varies(leaf) for leaf in alike)):
            return passed("Inputs vary around targets of their own shape: noise or masks that are the task.", evidence=_evidence(used))
        if any(leaf.kind in ("labels", "scalar") or leaf.shape == main.shape for leaf in answers):
            return _drawn(repeats, main, "and its target with it")
        if len([leaf for leaf in moving if leaf.shape == main.shape]) > 1:
            return _drawn(repeats, main, "in several views at once")
        if main.recognised < ANOTHER and not repeats.random_transforms and not repeats.by_hook:
            return _drawn(repeats, main, "and keeps nothing but its target")
        return _augmented(repeats, main)


def _varies(leaf: Repeat) -> bool:
    return leaf.varied > 0 and leaf.change >= NEGLIGIBLE


def _augmented(repeats: Repeats, main: Repeat) -> Verdict:
    if repeats.changed_where is not None:
        return _changed(repeats, main)
    named = ", ".join(repeats.random_transforms[:4])
    by = (
        f" by {repeats.by_hook}{f' ({named})' if named else ''}"
        if repeats.by_hook
        else f" by {named}"
        if named
        else " by the collate function"
        if repeats.by_collate
        else ""
    )
    unread = f" The {repeats.unread} that the Subset was given is not read by it: the dataset inside has its own." if repeats.unread else ""
    return failed(
        f"Validation inputs are changed at random{by}: {main.varied} of {main.samples} samples differ between readings, "
        f"{main.change:.2g} times as much as different samples do, while their targets stay.{unread}",
        severity=Severity.WARNING,
        evidence={**_evidence([main]), "measured": main.change, "expected": 0, "threshold": NEGLIGIBLE},
        location=repeats.unread_where or _where(repeats),
        fix=_fix(repeats, named),
    )


def _changed(repeats: Repeats, main: Repeat) -> Verdict:
    """Samples that are other ones at each reading because reading leaves its mark on the data."""
    return failed(
        f"Reading a sample changes the data that the dataset holds, in place, so the next reading gets something else: {main.varied} of "
        f"{main.samples} validation samples differ between readings, {main.change:.2g} times as much as different samples do.",
        severity=Severity.WARNING,
        evidence={**_evidence([main]), "measured": main.change, "expected": 0, "threshold": NEGLIGIBLE},
        location=repeats.changed_where,
        fix=_COPY,
    )


def _worn(found: Overwritten) -> Verdict:
    """Training samples that wear, which is more than augmentation."""
    if found.masked:
        return failed(
            "Random masks are written into the data that the dataset holds, so they pile up from epoch to epoch: after six more readings under other "
            f"random draws, sample {found.sample:,} has changed for good by {found.change:.0%} of the distance to its neighbour.",
            severity=Severity.WARNING,
            evidence={"measured": found.change, "expected": 0, "threshold": NEGLIGIBLE, "sample": found.sample},
            location=found.where,
            fix=replace(
                _COPY,
                summary="Mask a copy: rows of arrays and tensors are views, and writing to a part of one writes through it.",
                edit=Edit(kind="not-in-place", values={"copy": "clone" if found.tensor else "copy"}),
            ),
        )
    return failed(
        "Reading a training sample changes the data that the dataset holds, in place, so each epoch gets something else: read again, with all random "
        f"generators held still, sample {found.sample:,} has changed by {found.change:.0%} of the distance to its neighbour.",
        severity=Severity.WARNING,
        evidence={"measured": found.change, "expected": 0, "threshold": NEGLIGIBLE, "sample": found.sample},
        location=found.where,
        fix=_COPY,
    )


def _where(repeats: Repeats) -> Location | None:
    if repeats.changed_where is not None or repeats.by_hook:
        return repeats.changed_where or repeats.hook_where
    return repeats.loader_where if repeats.by_collate else repeats.where or repeats.loader_where


def _fix(repeats: Repeats, named: str) -> Fix:
    if repeats.by_hook:
        return Fix(
            summary=f"Augment only while the trainer trains: Lightning hands batches of validation and test to {repeats.by_hook} as well.",
            code="if self.trainer.training:\n    x = self.augment(x)",
        )
    if repeats.by_collate:
        return Fix(
            summary="Give the validation loader a collate function that draws nothing.",
            code="DataLoader(val_set, collate_fn=plain_collate)",
        )
    if repeats.training_varies is False:
        return Fix(
            summary="Training samples do not vary and validation samples do: the transforms of the two seem to be swapped.",
            code="train_set = MyDataset(transform=augment)\nval_set = MyDataset(transform=plain)",
        )
    without = f" without {named}" if named else " without random parts"
    if repeats.shared:
        return Fix(
            summary=f"Training and validation share one dataset and so its transform: build it a second time for validation, with a transform{without}.",
            code="val_set = Subset(MyDataset(transform=plain), val_set.indices)",
            edit=Edit(kind="plain-validation"),
        )
    return Fix(summary=f"Build the validation dataset with a transform{without}.", code="val_set = MyDataset(transform=plain)")


def _answers(repeats: Repeats, answers: Sequence[Repeat]) -> Verdict:
    """Targets that vary while the inputs stay."""
    main = max(answers, key=lambda leaf: leaf.varied)
    return failed(
        f"The target of a validation sample changes from reading to reading ({main.varied} of {main.samples} samples) while its input stays.",
        severity=Severity.WARNING if main.kind == "labels" else Severity.NOTE,
        evidence={**_evidence([main]), "measured": main.varied, "expected": 0, "threshold": 0},
        location=_where(repeats),
        fix=Fix(
            summary="Draw what is random about targets once, from a generator with a fixed seed for each index.",
            code="generator = torch.Generator().manual_seed(index)",
        ),
    )


def _drawn(repeats: Repeats, main: Repeat, how: str) -> Verdict:
    return failed(
        f"A validation index gives another sample each time, {how}: the validation loss is an estimate that jumps by chance.",
        severity=Severity.NOTE,
        evidence={**_evidence([main]), "measured": main.recognised, "expected": 1, "threshold": ANOTHER},
        location=_where(repeats),
        fix=Fix(
            summary="For epochs that can be compared, draw the validation samples from a generator with a fixed seed for each index.",
            code="generator = torch.Generator().manual_seed(index)",
        ),
    )


def _evidence(leaves: Sequence[Repeat]) -> dict[str, Json]:
    return {
        leaf.path or "sample": f"{leaf.varied} of {leaf.samples} vary, by {leaf.change:.3g} of the distance between samples"
        for leaf in leaves
    }
