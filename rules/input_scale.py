"""Checks that inputs and regression targets come in a scale that a network can learn from.

## What it checks

It looks at what really entered the model, after every transform in loader and loop, and at a regression's target:

- **train and validation prepared differently**: one normalised, the other not (an error: the validation numbers belong
  to other inputs than those the model learns from);
- **validation scaled by itself**: every measured column of a table that is no training rows again has exactly the range, or mean and standard
  deviation, that a scaler gives to the rows it was fitted on (a warning);
- **large values**: raw 0-255 pixels or unscaled measurements, and **columns of a table on very different scales** (a
  warning; an error when more than half of a tanh or sigmoid layer behind them is saturated from the start). Where the script scales the rows but
  nothing reads the result, as in a loop over tables that sets its own variable, that line is pointed at;
- **normalised twice**, or divided by 255 twice;
- **normalised by constants of another scale**: mean and standard deviation of 0-255 pixels, given to a transform that gets pictures in [0, 1];
- **a regression target far larger than what the model puts out**;
- images in [0, 1] given to pretrained weights (a note: most were trained on normalised images).

Inputs in [0, 1] are fine. So is any scale when the model normalises its input itself or starts with a norm layer; a
norm layer behind the first layer makes a common factor harmless. Token ids have no scale.

## Why it matters

Gradients of the first layer are proportional to its inputs. Large inputs saturate tanh and sigmoid units, and one
learning rate is too high for the large columns of a table and too low for the small.

## Example

```python
images = torch.tensor(dataset.data).float()  # 0 to 255: dataset.data is read before the transform
loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
```

## Fix

Bring inputs to about zero mean and unit spread, in training and validation, with the training part's statistics.

```python
mean, std = train_images.mean(), train_images.std()
train_set = TensorDataset((train_images - mean) / std, train_labels)
val_set = TensorDataset((val_images - mean) / std, val_labels)
```

## Thresholds

- Root mean square above 20 is large. Normalised data has 1, raw 8-bit pictures 85 (MNIST) to 135 (CIFAR-10), the
  0-16 digits of scikit-learn, which train well, 8. The healthy pipelines measured have 0.7 to 1.04.
- Columns: the largest at least 20, and 100 times the smallest that varies. Raw wine data has 2,000 times, and an MLP
  fails on it; standardised columns have 1, one-hot columns up to 10. A judgement between these.
- Normalised twice: signed pictures with a standard deviation above 3. Pixels in [0, 1] have at most 0.5, which the
  smallest divisor in use (0.198, SVHN) turns into 2.5. Divided twice: all values within 1/64 (1/255 in practice),
  or ten times farther from zero than they differ (pixels of 0 and 1 out of 255, normalised by 0.5, lie 125 times farther).
- Constants of another scale: a mean and a standard deviation above 1, where the pictures had a mean within [0, 1], and a standard deviation of
  0.01 to 1, before these were taken off. No pictures have such statistics themselves.
- Skew: spread differs 2.5 times or the mean by 0.8 standard deviations, and the two ranges are of different kinds
  (signed, [0, 1], [0, 255]). Normalising MNIST changes its spread 3.2 times, CIFAR-10 4 times. Tables: 3 times in the
  median column for a warning, 5 for an error.
- Scaled by itself: within 2e-5, in three columns of mostly different values and 40 rows at least. Other rows would miss it by 1/√n in the mean.
- Regression target: root mean square above 50 and ten times that of the first predictions. A judgement.

## References

- LeCun, Bottou, Orr, Müller, Efficient BackProp, 1998, section 4.3: http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf
- scikit-learn, Preprocessing data: https://scikit-learn.org/stable/modules/preprocessing.html
- torchvision, what pretrained weights expect: https://docs.pytorch.org/vision/stable/models.html
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace

from trainlint.details import Bars, Detail, Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Activations, Batches, Loss
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._inputs import InputStats, pool
from trainlint_rules._picture_constants import other_constants

#: Root mean square above which inputs are large; raw MNIST has 85, digits in 0-16 have 8.
LARGE = 20.0
#: Largest over smallest column of a table; raw wine data has 3,000.
COLUMN_RATIO = 100.0
#: Standard deviation of normalised pictures; 0.5 / 0.198 = 2.5 is the most that one normalisation of [0, 1] gives.
TWICE_STD = 3.0
#: Largest value of pictures divided by 255 twice, which is 1/255.
TINY = 1 / 64
#: Times that pictures lie farther from zero than they differ.
FLAT = 10.0
#: Spread and shift between training and validation pictures; normalising MNIST changes its spread 3.2 times.
SKEW_STD, SKEW_SHIFT = 2.5, 0.8
#: The same for the median column of a table: warning, error. Judgements.
TABLE_SKEW, TABLE_SKEW_ERROR = 3.0, 5.0
#: Root mean square of a regression target, and its ratio to the first predictions: judgements.
LARGE_TARGET, TARGET_RATIO = 50.0, 10.0
#: Share of a tanh or sigmoid layer whose saturation from the start proves harm.
SATURATED = 0.5
#: Side in pixels from which pictures are what weights pretrained on photographs are used on.
PHOTO_SIDE = 64
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


class InputScale(Rule):
    """Inputs and targets on a scale that can be learned from."""

    code = "TL203"
    name = "input-scale"
    stage = Stage.DATA
    severity = Severity.ERROR
    summary = "Inputs and regression targets are on a scale that can be learned from"
    why = "Gradients of the first layer grow with its inputs: large or uneven inputs saturate units and make every learning rate wrong."
    source = "LeCun et al., Efficient BackProp, section 4.3: http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf"
    requires = (Batches, Loss, Activations)

    def judge(self, batches: Batches, loss: Loss, activations: Activations) -> Verdict:
        """Judge what entered the model and what the loss compared it with; the worst fault speaks."""
        train, val = pool(batches.train), pool(batches.val)
        inside = batches.normalised_inside or "Norm" in batches.first_layer
        faults = list(_target(loss))
        if train and val:
            faults += [*_skew(train, val, certain=loss.optimizers == 1 and not batches.normalised_inside), *_alone(batches)]
        if train and not inside:
            raw = (*_large(train, batches, activations), *_columns(train, batches, activations))
            faults += [*(_lost(fault, batches.lost_scaling) for fault in raw), *_pictures(train, batches)]
        if faults:
            faults.sort(key=lambda fault: fault.severity.rank if fault.severity else 0)
            also = {"also": " ".join(fault.message for fault in faults[1:])} if len(faults) > 1 else {}
            details = tuple(detail for fault in faults for detail in fault.details)
            return replace(faults[0], evidence={**faults[0].evidence, **also}, details=details)
        if train is None:
            return not_run("no dense input (picture, table or sequence of numbers) enters the model: token ids have no scale")
        how = ", normalised inside the model" if inside else ""
        return passed(f"Inputs range from {train}{how}.", evidence={"measured": train.rms, "threshold": LARGE})


def _fault(
    severity: Severity,
    message: str,
    where: Location | None,
    summary: str,
    code: str,
    *,
    measured: float,
    threshold: float,
    expected: str = "about 1",
    detail: Detail | None = None,
    edit: Edit | None = None,
) -> Verdict:
    return failed(
        message,
        severity=severity,
        evidence={"measured": measured, "expected": expected, "threshold": threshold},
        location=where,
        fix=Fix(summary=summary, code=code, edit=edit),
        details=(detail,) if detail else (),
    )


def _skew(train: InputStats, val: InputStats, *, certain: bool) -> Iterator[Verdict]:
    """Training and validation prepared differently: pictures by the range of their pixels, tables by the median column."""
    if (train.kind, len(train.means)) != (val.kind, len(val.means)):
        return
    if train.kind == "image":
        spread = max(train.std, val.std) / (min(train.std, val.std) or math.inf)
        shift = abs(train.mean - val.mean) / (max(train.std, val.std) or math.inf)
        if train.span == val.span or "positive" in (train.span, val.span) or (spread < SKEW_STD and shift < SKEW_SHIFT):
            return
        severity, measured, threshold = Severity.ERROR if certain else Severity.WARNING, max(spread, shift), SKEW_STD
    else:
        columns = [
            max(a / b, b / a, abs(m - n) / max(a, b))
            for a, b, m, n in zip(train.stds, val.stds, train.means, val.means, strict=True)
            if a > 0 and b > 0
        ]
        measured, threshold = statistics.median(columns) if len(columns) > 1 else 0.0, TABLE_SKEW
        if measured < TABLE_SKEW:
            return
        severity = Severity.ERROR if certain and measured >= TABLE_SKEW_ERROR else Severity.WARNING
    rows = tuple((phase, s.minimum, s.maximum, s.mean, s.std) for phase, s in (("train", train), ("val", val)))
    yield _fault(
        severity,
        f"Training inputs range from {train} but validation inputs from {val}: the two are not prepared in the same way.",
        val.where or train.where,
        "Send validation data through the same scaling as training data, with the statistics of the training part.",
        "val_inputs = (val_inputs - train_mean) / train_std",
        measured=measured,
        threshold=threshold,
        expected="the same scale in training and validation",
        detail=Table(title="What enters the model", columns=("phase", "min", "max", "mean", "std"), rows=rows),
    )


def _alone(batches: Batches) -> Iterator[Verdict]:
    """Validation scaled by statistics of its own."""
    if batches.val_scaled_to:
        yield _fault(
            Severity.WARNING,
            f"All {batches.val_scaled_columns} measured columns of the validation table have exactly {batches.val_scaled_to}: they were scaled with "
            "statistics of the validation rows, so that the same number means another quantity than in training.",
            batches.val_scaled_where or (batches.val[0].where if batches.val else None),
            "Fit the scaler on training rows alone, and only apply it to validation rows.",
            "scaler.fit(x_train)\nx_train, x_val = scaler.transform(x_train), scaler.transform(x_val)",
            measured=batches.val_scaled_columns,
            threshold=0,
            expected="the scale of the training rows",
            edit=Edit(kind="transform-only"),
        )


def _large(train: InputStats, batches: Batches, activations: Activations) -> Iterator[Verdict]:
    if train.rms < LARGE or _is_uneven(train) or (batches.pretrained and train.minimum < 0):
        return
    severity, harm = _harm(batches, activations)
    if severity is not Severity.ERROR and _norm_follows(activations):
        severity, harm = Severity.NOTE, ", softened by the norm layer behind the first layer"
    pixels = train.kind == "image" and train.span == "0-255"
    yield _fault(
        severity,
        f"{'Raw pixels' if pixels else 'Large values'} enter the model: {train}{harm}.",
        train.where,
        "Normalise the inputs with the mean and standard deviation of the training data, in training and validation alike.",
        "inputs = inputs / 255" if pixels else "inputs = (inputs - train_mean) / train_std",
        measured=train.rms,
        threshold=LARGE,
        edit=Edit(kind="rescale-input", values={"by": 255}) if pixels else Edit(kind="standardise-input"),
    )


def _lost(fault: Verdict, where: Location | None) -> Verdict:
    """Point at the line that scales raw inputs, where there is one, and its result is lost."""
    if where is None or fault.fix is None:
        return fault
    summary = "Give what the line works out back to the variables that the dataset is built from."
    message = f"{fault.message} Line {where.line} scales them, but nothing reads its result."
    return replace(fault, message=message, location=where, fix=replace(fault.fix, summary=summary, edit=None))


def _columns(train: InputStats, batches: Batches, activations: Activations) -> Iterator[Verdict]:
    if not _is_uneven(train):
        return
    scales = train.scales
    high, low = max(scales, key=scales.__getitem__), min(scales, key=scales.__getitem__)
    ratio = scales[high] / scales[low]
    severity, harm = _harm(batches, activations)
    yield _fault(
        severity,
        f"Table columns differ {ratio:,.0f}-fold in scale: the root mean square of column {high} is {scales[high]:.3g}, "
        f"of column {low} {scales[low]:.3g}{harm}.",
        train.where,
        "Standardise each column with the mean and standard deviation of the training rows.",
        "mean, std = x_train.mean(axis=0), x_train.std(axis=0)\nx_train, x_val = (x_train - mean) / std, (x_val - mean) / std",
        edit=Edit(kind="standardise-input"),
        measured=ratio,
        threshold=COLUMN_RATIO,
        expected="columns of about the same scale",
        detail=Bars(
            title="Scale of each column",
            value_label="root mean square",
            labels=tuple(map(str, scales)),
            values=tuple(scales.values()),
            log=True,
            highlight=tuple(i for i, scale in enumerate(scales.values()) if scale >= LARGE),
        ),
    )


def _pictures(train: InputStats, batches: Batches) -> Iterator[Verdict]:
    if train.kind != "image" or train.rms >= LARGE:
        return
    if train.minimum < 0 and train.std >= TWICE_STD:
        yield _fault(
            Severity.WARNING,
            f"Pictures range from {train}, wider than any normalisation of [0, 1] pixels gives: they seem to be normalised twice.",
            train.where,
            "Normalise once, either in the transform or in the loop.",
            "transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])",
            measured=train.std,
            threshold=TWICE_STD,
        )
    elif train.minimum >= 0 and 0 < train.maximum <= TINY:
        yield _fault(
            Severity.WARNING,
            f"Pictures range from {train}: they seem to be divided by 255 twice.",
            train.where,
            "Divide once: ToTensor() already brings 8-bit pictures to [0, 1].",
            "transform = transforms.ToTensor()",
            measured=train.maximum,
            threshold=TINY,
        )
    elif (fault := other_constants(train, batches.normaliser)) is not None:
        yield fault
    elif 0 < (contrast := train.maximum - train.minimum) <= abs(train.mean) / FLAT:
        yield _fault(
            Severity.WARNING,
            f"Pictures range from {train}: they differ by at most {contrast:.2g}, so next to nothing of them is left.",
            train.where,
            "Look at one picture after each step from file to tensor: it was divided by 255 twice, or cast to 8 bits after it was divided.",
            "image = (image * 255).astype(np.uint8)  # back to 0 … 255 before 8 bits; ToTensor() divides by 255",
            measured=contrast,
            threshold=abs(train.mean) / FLAT,
            expected="a contrast of about 1",
        )
    elif batches.pretrained and len(train.means) == 3 and train.side >= PHOTO_SIDE and train.span == "0-1":
        yield _fault(
            Severity.NOTE,
            f"Pictures range from {train} and go into pretrained weights, most of which were trained on normalised pictures.",
            train.where,
            "Use the transform that comes with the weights.",
            "transform = weights.transforms()  # timm: create_transform(**resolve_model_data_config(model))",
            measured=train.mean,
            threshold=0.0,
            expected="the statistics that the weights were trained with",
        )


def _target(loss: Loss) -> Iterator[Verdict]:
    for call in loss.calls:
        if call.kind not in REGRESSION or call.broadcast or call.target_mean is None or call.target_std is None:
            continue
        target, guess = math.hypot(call.target_mean, call.target_std), math.hypot(call.input_mean, call.input_std)
        if target >= LARGE_TARGET and target >= TARGET_RATIO * guess:
            yield _fault(
                Severity.WARNING,
                f"The regression target has mean {call.target_mean:.4g} and standard deviation {call.target_std:.4g}, "
                f"while the first predictions lie around {call.input_mean:.2g} ± {call.input_std:.2g}.",
                call.where,
                "Standardise the target with the training part's statistics and turn predictions back for reporting.",
                "y_mean, y_std = y_train.mean(), y_train.std()\nloss = criterion(model(x), (y - y_mean) / y_std)",
                measured=target,
                threshold=LARGE_TARGET,
            )
            return


def _is_uneven(train: InputStats) -> bool:
    scales = train.scales.values() if train.kind == "table" else ()
    return len(scales) > 1 and max(scales) >= max(LARGE, COLUMN_RATIO * min(scales))


def _harm(batches: Batches, activations: Activations) -> tuple[Severity, str]:
    """How bad large values are: certain when units are saturated, doubtful when the first layer may look ids up."""
    saturated = max((layer.saturated for layer in activations.layers), default=0.0)
    if saturated >= SATURATED:
        return Severity.ERROR, f", and {saturated:.0%} of a tanh or sigmoid layer is saturated before the first step"
    numbers = batches.first_layer and "Embedding" not in batches.first_layer
    return Severity.WARNING if numbers else Severity.NOTE, ""


def _norm_follows(activations: Activations) -> bool:
    """Whether the first layer with weights is followed at once by a norm layer, which takes a common factor out again."""
    kinds = [layer.kind for layer in activations.layers]
    first = next((i for i, kind in enumerate(kinds) if "Conv" in kind or "Linear" in kind), len(kinds))
    return any("Norm" in kind for kind in kinds[first + 1 : first + 2])
