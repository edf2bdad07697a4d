"""Finds inputs that hold nothing: blank, constant or repeated samples.

## What it checks

In the recorded training batches, on the tensor that enters the model:

- **blank samples**, in which every element has the same value: an error when all are blank, a warning from half of them
  on, a note from a tenth on;
- **repeated samples**, equal to an earlier one of the same batch: an error when whole batches consist of one sample
  while their targets differ, a warning from half of a batch on;
- **one token for nearly all words**: three quarters of the tokens of all texts, padding at the ends and token 0 left out, are the same (a warning);
- **one array stored for all samples**: without a DataLoader, all samples of each batch are equal, differ from batch to batch, and one array, as a
  buffer that an environment hands out and writes into again, lies in the memory as often (an error);
- **pixels that run over the end of 8 bits**: read again, a picture has its brightest pixels, and only these, darker by a whole range than the
  shift of the others (a warning);
- **a colour channel that never changes** while others do (a note).

Narrow tables, short token sequences and single numbers repeat by nature and are not judged but for that array.

## Why it matters

From an input that holds nothing only the frequency of the labels can be learned. The usual makers are integer division,
a cast of [0, 1] pixels to 8 bits, a crop or erase that leaves nothing, and a dataset that ignores its index.

## Example

```python
images = images.astype(np.uint8) // 255  # whole numbers: every pixel below 255 becomes 0
```

## Fix

Look at a picture after each transform and find the step that wipes it out.

```python
images = images.astype(np.float32) / 255
```

## Thresholds

- Pixels over the end of 8 bits: 2 % of the pixels lie within a fifth of the range from the shift less the whole range, all but 3 % of the others
  within a fifth from the shift, in 5 % of the pairs of readings. Brightness with clipping, inverting, solarising and erasing gave none in 200 trials.
- Blank: all, half, a tenth of at least 8 samples. Satellite and pathology tiles have blank ones by nature, hence the
  note. A judgement.
- Repeated: half of a batch of at least 4. A weighted sampler that balances 5 rare samples against the rest repeats
  42 % of a batch of 64. A judgement above that.
- One token: three quarters. The commonest word of English, "the", is 7 % of its words (Zipf's law); a vocabulary that knows a half of them leaves a half
  unknown.
- Rows of fewer than 16 elements are not judged: 2 ** 16 different binary rows make chance repetitions rare.

## References

- Karpathy, A Recipe for Training Neural Networks, "become one with the data": https://karpathy.github.io/2019/04/25/recipe/
- NumPy, casting with astype: https://numpy.org/doc/stable/reference/generated/numpy.ndarray.astype.html
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Batches, BatchView, Leaf, SharedBuffer
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._inputs import made_where, main_input, pool

#: Shares of blank samples for an error, a warning, a note: judgements.
BLANK_ERROR, BLANK_WARNING, BLANK_NOTE = 1.0, 0.5, 0.1
#: Share of repeated samples for a warning: a judgement.
REPEATED = 0.5
#: Samples and batch size below which shares mean nothing.
SAMPLES, BATCH = 8, 4
#: Share of the tokens of a text that are one and the same.
ONE_TOKEN = 0.75
#: Elements a sample must have for repetitions to be no chance.
WIDTH = 16


class InputDegenerate(Rule):
    """Counts blank and repeated samples among what enters the model."""

    code = "TL205"
    name = "input-degenerate"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Samples hold something, and differ from each other"
    why = "From inputs that are blank or all the same only the frequency of the labels can be learned."
    source = "Karpathy, A Recipe for Training Neural Networks: https://karpathy.github.io/2019/04/25/recipe/"
    requires = (Batches,)

    def judge(self, batches: Batches) -> Verdict:
        """Judge blank samples first, then repeated ones, then dead channels; before them pixels that ran over the end of 8 bits."""
        if batches.wrapped:
            return _wrapped(batches)
        if batches.shared is not None:
            return _shared(batches.shared)
        pairs = [(view, leaf) for view in batches.train if (leaf := main_input(view)) and math.prod(leaf.shape[1:]) >= WIDTH]
        if not pairs:
            narrow = [leaf for view in batches.train if (leaf := main_input(view)) and "float" in leaf.dtype and len(leaf.shape) > 1]
            repeated, samples = sum(leaf.repeated_rows for leaf in narrow), sum(leaf.shape[0] for leaf in narrow)
            if samples and repeated < REPEATED * samples:
                return passed(
                    f"Of {samples:,} samples that entered the model {repeated or 'none'} repeated.", evidence={"repeated": repeated}
                )
            return not_run(f"no input with at least {WIDTH} values a sample enters the model, and narrower ones repeat by nature")
        leaves = [leaf for _, leaf in pairs]
        samples = sum(leaf.shape[0] for leaf in leaves)
        verdict = _blank(pairs[0][0], leaves, samples) or _repeated(pairs, samples) or _one_token(pairs, samples) or _dead_channel(batches)
        if verdict:
            return verdict
        blank, repeated = sum(leaf.constant_rows for leaf in leaves), sum(leaf.repeated_rows for leaf in leaves)
        return passed(
            f"Of {samples:,} samples that entered the model {blank or 'none'} were blank and {repeated or 'none'} repeated.",
            evidence={"samples": samples, "blank": blank, "repeated": repeated},
        )


def _shared(found: SharedBuffer) -> Verdict:
    copied = "copy" if found.array else "clone"
    what = f"self.{found.attribute}"
    return failed(
        f"All {found.samples} samples of each batch are one and the same: a single array is stored {found.stored:,} times, and holds what was written into "
        f"it last. So none of them is what it was when it was stored.",
        severity=Severity.ERROR,
        evidence={"measured": found.stored, "expected": 1, "threshold": found.samples, "samples": found.samples, "batches": found.batches},
        location=found.where,
        fix=Fix(
            summary=f"Hand out, or store, a copy: {what} is written into again at the next step.",
            code=f"return {what}.{copied}()",
            edit=Edit(kind="return-copy", values={"attribute": found.attribute, "method": copied}),
        ),
    )


def _wrapped(batches: Batches) -> Verdict:
    return failed(
        "Augmentation runs over the end of 8 bits: between two readings of a training picture the brightest pixels, and only these, get darker by the "
        f"whole range while the others get brighter ({batches.wrapped:.0%} of the pairs of readings looked at).",
        severity=Severity.WARNING,
        evidence={"measured": batches.wrapped, "expected": 0.0, "threshold": 0.0},
        location=batches.wrapped_where or (made_where(batches.train[0]) if batches.train else None),
        fix=Fix(
            summary="Compute in floating point, and clip before going back to 8 bits.",
            code="image = (image.astype(np.float32) + shift).clip(0, 255).astype(np.uint8)",
        ),
    )


def _blank(view: BatchView, leaves: Sequence[Leaf], samples: int) -> Verdict | None:
    blank = sum(leaf.constant_rows for leaf in leaves)
    share = blank / samples if samples else 0.0
    tokens = all(leaf.kind == "tokens" for leaf in leaves)  # of which a row may be a place, as the first of all texts
    if samples < SAMPLES or share < (BLANK_WARNING if tokens else BLANK_NOTE):
        return None
    severity = Severity.ERROR if share >= BLANK_ERROR else Severity.WARNING if share >= BLANK_WARNING else Severity.NOTE
    value = f" ({leaves[0].minimum:g} everywhere)" if leaves[0].minimum == leaves[0].maximum else ""
    return failed(
        f"{blank:,} of {samples:,} samples that enter the model are blank: all their values are the same{value}.",
        severity=severity,
        evidence={"measured": share, "expected": 0.0, "threshold": BLANK_NOTE},
        location=made_where(view),
        fix=Fix(
            summary="Look at one sample after each step from file to tensor and find the step that wipes it out: integer division, "
            "a cast to 8 bits, a crop beside the object.",
            code="images = images.astype(np.float32) / 255",
        ),
        details=(view.pictures,) if view.pictures else (),
    )


def _repeated(pairs: Sequence[tuple[BatchView, Leaf]], samples: int) -> Verdict | None:
    repeated = sum(max(leaf.repeated_rows - view.drawn_again, 0) for view, leaf in pairs)
    share = repeated / samples if samples else 0.0
    large = [(view, leaf) for view, leaf in pairs if leaf.shape[0] >= BATCH]
    if samples < SAMPLES or not large or share < REPEATED:
        return None
    hopeless = (
        all(leaf.repeated_rows - view.drawn_again == leaf.shape[0] - 1 and _targets_differ(view) for view, leaf in large) and len(large) > 1
    )
    if not hopeless and all(_one_hot(leaf) for _, leaf in pairs):
        return None
    again = ", while their targets differ" if hopeless else ""
    return failed(
        f"{repeated:,} of {samples:,} samples that enter the model equal an earlier one of their batch{again}.",
        severity=Severity.ERROR if hopeless else Severity.WARNING,
        evidence={"measured": share, "expected": 0.0, "threshold": REPEATED},
        location=made_where(pairs[0][0]),
        fix=Fix(
            summary="Let the dataset return the sample of the index it is asked for, and drop duplicates from the data.",
            code="def __getitem__(self, index):\n    return self.inputs[index], self.targets[index]",
        ),
        details=(pairs[0][0].pictures,) if pairs[0][0].pictures else (),
    )


def _targets_differ(view: BatchView) -> bool:
    return any(leaf.distinct > 1 for leaf in view.leaves if leaf.role == "target")


def _one_token(pairs: Sequence[tuple[BatchView, Leaf]], samples: int) -> Verdict | None:
    """Texts of hardly anything but one token, as when words are looked up that the vocabulary has not."""
    shares = [leaf.commonest_share for _, leaf in pairs]
    tokens = {leaf.commonest for _, leaf in pairs}
    # 0 stands for nothing in many an encoding, as in counts of words.
    if samples < SAMPLES or len(tokens) > 1 or tokens == {0.0} or not ONE_TOKEN <= min(shares) <= 1.0:
        return None
    share, token = statistics.fmean(shares), tokens.pop()
    return failed(
        f"{share:.0%} of all tokens that enter the model are one and the same, {token:g}, padding at the ends left out: the texts hold hardly anything.",
        severity=Severity.WARNING,
        evidence={"measured": share, "expected": 0.0, "threshold": ONE_TOKEN, "token": token},
        location=made_where(pairs[0][0]),
        fix=Fix(
            summary="Look at a text and its tokens: where most are the one for unknown words, texts are cut otherwise than those that the vocabulary was "
            "made of (letters for words, another case), or the vocabulary belongs to other data.",
            code="for word in words:\n    print(word, vocabulary.get(word, unknown))",
        ),
    )


def _one_hot(leaf: Leaf) -> bool:
    """Whether a sample names one of as many states as it has values, so that a batch of some size must repeat some."""
    width = math.prod(leaf.shape[1:])
    return leaf.distinct == 2 and (leaf.minimum, leaf.maximum) == (0.0, 1.0) and math.isclose(leaf.mean * width, 1.0, rel_tol=1e-4)


def _dead_channel(batches: Batches) -> Verdict | None:
    stats = pool(batches.train)
    if stats is None or stats.kind != "image" or len(stats.stds) < 3:
        return None
    dead = [channel for channel, std in enumerate(stats.stds) if std == 0]
    if not dead or len(dead) == len(stats.stds):
        return None
    return failed(
        f"Channel {', '.join(map(str, dead))} of the pictures is {stats.means[dead[0]]:.3g} everywhere, while the others vary.",
        severity=Severity.NOTE,
        evidence={"measured": 0.0, "expected": "a channel that varies", "channels": [*dead]},
        location=stats.where,
        fix=Fix(
            summary="Drop the channel (an opaque alpha channel holds nothing), or look where it is lost.", code="images = images[:, :3]"
        ),
    )
