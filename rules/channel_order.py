"""Checks that pictures reach a convolution with their channels where it expects them.

## What it checks

- **Channels last, fed as channels first** (an error): a batch of shape (B, H, W, 3) entered the model and the first 2-d
  convolution has as many input channels as the picture has rows. The convolution then slides over columns and colours
  and treats every row as a channel of its own.
- **Channels last, cut into another shape** (an error): the shape is right, but neighbouring pixels differ far less once the same
  numbers are read as (H, W, C). `reshape` or `view` was used where the axis should have been moved.
- **Channels of validation in another order than training's** (an error, a warning where less is mended): a cheap probe fitted on training
  pictures (see `label-signal`) fails on validation pictures as they come, however their classes are named, and is right about them with
  the channels in reverse, or another, order. Failing that (a warning): the channel statistics of validation pictures match those of
  training pictures only when read in reverse order.

A model that moves the axis itself (`x.permute(0, 3, 1, 2)` in its forward) is fine: its first convolution takes as many
channels as the last axis has. So are models without convolutions, for which the order of values is no matter.

## Why it matters

A convolution shares its weights over positions. Over the wrong axes there is nothing to share: the model loses the
picture's layout, trains, and stays far below what it could do. Nothing raises an error, since only numbers must match.

## Example

```python
images = torch.from_numpy(np.stack(pictures))       # (N, 32, 32, 3)
model = nn.Sequential(nn.Conv2d(images.shape[1], 16, 3, padding=1), ...)
```

## Fix

Move the channels to the front once, where pictures become tensors. `ToTensor()` of torchvision does it for you;
`view` and `reshape` do not move anything, they only cut the numbers into other pieces.

```python
images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # (N, 3, 32, 32)
model = nn.Sequential(nn.Conv2d(images.shape[1], 16, 3, padding=1), ...)
```

## Thresholds

- Channels last: none, the shapes and the convolution's own weight decide.
- Another shape: pixels differ at least 1.5 times less along both axes. Photos of scikit-learn and drawn shapes read rightly give 0.3 to
  0.8, noise gives 1.0; the same pictures reshaped give 1.6 to 13. Grey pictures with three equal channels cannot be told.
- Another order, by the probe: it gains 0.2 in score over the order as it is and 0.1 over the best renaming of classes, by 6 standard errors,
  and reaches 70 % (a warning) or 85 % (an error) of its score on held-out training pictures. A judgement.
- Red and blue, by statistics: means of red and blue at least 0.15 standard deviations apart, and statistics in reverse order at least
  four times closer. Pictures of sky against the average of CIFAR-10 give 1.1 times. A judgement between these.

## References

- torch.nn.Conv2d, input of shape (N, C, H, W): https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
- torchvision, ToTensor: https://docs.pytorch.org/vision/stable/generated/torchvision.transforms.ToTensor.html
- OpenCV reads pictures as BGR: https://docs.opencv.org/4.x/d4/da8/group__imgcodecs.html
"""

from __future__ import annotations

import math
import statistics

from trainlint.details import Table
from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import Batches, BatchView, ColourOrder, Leaf, ParameterInfo, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._colours import reordered, swap
from trainlint_rules._inputs import InputStats, made_where, main_input, pool

#: How many times less pixels differ when read as channels last, along the axis that gains least.
INTERLEAVED = 1.5
#: Distance between the means, or the standard deviations, of red and blue in standard deviations that makes their order visible: a judgement.
COLOUR_GAP = 0.15
#: How many times closer validation must be in reverse order; sky against the average of CIFAR-10 gives 1.1.
SWAP_RATIO = 4.0


class ChannelOrder(Rule):
    """Compares the layout of pictures with what the first convolution takes."""

    code = "TL204"
    name = "channel-order"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Pictures have their channels where the model expects them"
    why = "A convolution over the wrong axes mixes rows with colours: it trains without an error and stays far below what it could do."
    source = "torch.nn.Conv2d: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html"
    requires = (Batches, Parameters, ColourOrder)

    def judge(self, batches: Batches, parameters: Parameters, colours: ColourOrder) -> Verdict:
        """Judge the layout by the first convolution's weight, the colours by what a probe makes of them and by their statistics."""
        leaf = main_input(batches.train[0]) if batches.train else None
        if leaf is None or not (leaf.kind == "image" or leaf.channels_last):
            return not_run("no pictures enter the model")
        shape = " × ".join(map(str, leaf.shape))
        conv = _first_conv(parameters)
        if leaf.channels_last and conv and len(leaf.shape) == 4 and conv.shape[1] == leaf.shape[1] != leaf.shape[-1]:
            return failed(
                f"Pictures enter the model as {shape}, channels last, and the first {conv.module_kind} ({conv.module or conv.name}) "
                f"takes their {leaf.shape[1]} rows for channels.",
                severity=Severity.ERROR,
                evidence={
                    "measured": list(leaf.shape),
                    "expected": [leaf.shape[0], leaf.shape[3], leaf.shape[1], leaf.shape[2]],
                    "convolution": conv.module,
                    "in_channels": conv.shape[1],
                },
                location=made_where(batches.train[0]),
                fix=Fix(
                    summary="Move the channels to the front where pictures become tensors; the convolution then takes that many.",
                    code=f"images = images.permute(0, 3, 1, 2)  # (N, {leaf.shape[3]}, {leaf.shape[1]}, {leaf.shape[2]})",
                ),
            )
        gains = [found.interleaved for view in batches.train if (found := main_input(view)) and found.kind == "image"]
        if gains and min(gains) >= INTERLEAVED and len(leaf.shape) == 4:
            return _reshaped(batches.train[0], leaf, statistics.median(gains))
        if severity := swap(colours):
            return reordered(colours, severity)
        train, val = pool(batches.train), pool(batches.val)
        if train and val and (ratio := _swap_ratio(train, val)) >= SWAP_RATIO:
            return _swapped(train, val, ratio)
        return passed(f"Pictures enter the model as {shape}.", evidence={"measured": list(leaf.shape)})


def _first_conv(parameters: Parameters) -> ParameterInfo | None:
    return next((p for p in parameters.parameters if "Conv2d" in p.module_kind and len(p.shape) == 4 and p.used), None)


def _swap_ratio(train: InputStats, val: InputStats) -> float:
    """How many times closer validation's colours are to training's when read in reverse; 0 when it cannot be told."""
    if (train.kind, val.kind) != ("image", "image") or not len(train.means) == len(val.means) == 3:
        return 0.0
    gaps = [max(abs(s.means[0] - s.means[2]), abs(s.stds[0] - s.stds[2])) / (s.std or math.inf) for s in (train, val)]
    if min(gaps) < COLOUR_GAP:
        return 0.0
    mine = (*train.means, *train.stds)
    straight = math.dist(mine, (*val.means, *val.stds))
    reverse = math.dist(mine, (*val.means[::-1], *val.stds[::-1]))
    return straight / max(reverse, 1e-9)


def _reshaped(view: BatchView, leaf: Leaf, gain: float) -> Verdict:
    shape = " × ".join(map(str, leaf.shape))
    count, channels, height, width = leaf.shape
    return failed(
        f"Pictures enter the model as {shape}, but their numbers lie in the order {count} × {height} × {width} × {channels}: neighbouring pixels "
        f"differ {gain:.1f} times less when they are read so. They were reshaped, which moves nothing; each channel holds a strip of all colours.",
        severity=Severity.ERROR,
        evidence={"measured": gain, "expected": "at most 1", "threshold": INTERLEAVED},
        location=made_where(view),
        fix=Fix(
            summary="Move the axis where pictures become tensors, in place of giving them another shape.",
            code="image = image.transpose(2, 0, 1)  # numpy; in torch: image.permute(2, 0, 1)",
        ),
        details=(view.pictures,) if view.pictures else (),
    )


def _swapped(train: InputStats, val: InputStats, ratio: float) -> Verdict:
    first, last = f"{train.means[0]:.3g} … {train.means[2]:.3g}", f"{val.means[0]:.3g} … {val.means[2]:.3g}"
    return failed(
        f"The first and last colour channel have means {first} in training but {last} in validation: red and blue seem to be swapped.",
        severity=Severity.WARNING,
        evidence={"measured": ratio, "expected": "the same order of channels", "threshold": SWAP_RATIO},
        location=val.where or train.where,
        fix=Fix(
            summary="Read pictures in the same way for training and validation (OpenCV gives BGR, PIL gives RGB).",
            code="image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)",
        ),
        details=(
            Table(
                title="Mean of each channel",
                columns=("phase", "channel 0", "channel 1", "channel 2"),
                rows=(("train", *train.means), ("val", *val.means)),
            ),
        ),
    )
