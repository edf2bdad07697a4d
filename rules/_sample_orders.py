"""An order of samples shown, and samplers that fill each batch with a single class."""

from __future__ import annotations

from trainlint.details import Line, Series
from trainlint.finding import Fix, Json, Severity
from trainlint.measurements import Loss, SampleOrder
from trainlint.rule import Verdict, failed

__all__ = ["LABELS", "evidence_of", "one_class_each", "picture_of"]

#: Labels that must be known.
LABELS = 50
#: Samples a batch, classes and batches that grouping by class can be seen in.
GROUPED, CLASSES, BATCHES = 4, 3, 4
#: Points drawn in the chart.
DRAWN = 400


def one_class_each(order: SampleOrder, loss: Loss) -> Verdict | None:
    """Catch samplers that group samples by class, a class a batch."""
    size, classes = order.batch_size or 0, len(set(order.labels)) or order.single_values
    nothing = len(loss.values) > 1 and not any(loss.values)
    known = order.batch_label_share == 1.0 and len(order.labels) >= BATCHES * size
    guessed = not order.labels and nothing and order.single_batches >= BATCHES  # what the loss does with them is not seen
    if size < GROUPED or classes < CLASSES or not (known or guessed):
        return None
    return failed(
        f"Each batch of {size} holds a single class, of {classes} and more that there are ({order.sampler or 'the loader'} groups them): "
        + (
            "the loss is exactly 0 in every step, as nothing in a batch is to be told apart."
            if nothing
            else "no step sees two classes that it could tell apart."
        ),
        severity=Severity.ERROR if nothing else Severity.WARNING,
        evidence={**evidence_of(order), "measured": 1, "expected": "several classes in a batch", "threshold": CLASSES},
        location=order.sampler_where or order.where,
        fix=Fix(
            summary="Let a batch hold several classes, with several samples of each.",
            code=f"sampler = MPerClassSampler(labels, m={max(2, size // 8)})  # {size} samples of {size // max(2, size // 8)} classes",
        ),
        details=(picture_of(order),) if len(order.labels) >= LABELS else (),
    )


def evidence_of(order: SampleOrder) -> dict[str, Json]:
    """What every verdict on an order tells."""
    return {
        "sampler": order.sampler,
        "same_each_epoch": order.same_each_epoch,
        "label_runs": order.label_runs,
        "expected_runs": order.expected_runs,
        "z": order.runs_z,
        "batch_label_share": order.batch_label_share,
    }


def picture_of(order: SampleOrder) -> Series:
    """The labels, drawn in their order."""
    stride = max(len(order.labels) // DRAWN, 1)
    places = range(0, len(order.labels), stride)
    return Series(
        title="Labels in the order in which they are handed out",
        x_label="sample",
        y_label="label",
        lines=(Line(name="label", x=tuple(map(float, places)), y=tuple(order.labels[i] for i in places)),),
    )
