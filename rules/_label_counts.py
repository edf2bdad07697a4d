"""What counts of labels by class say, and their picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trainlint.details import Bars

__all__ = ["DRAWN", "bars", "class_name", "extremes", "pos_weight_of", "weights_of_others"]

#: Classes drawn in the chart, most frequent first.
DRAWN = 40


def extremes(counts: Mapping[str, int]) -> tuple[int, tuple[str, int], tuple[str, int]]:
    """Total, most frequent and rarest class."""
    ordered = sorted(((class_name(value), count) for value, count in counts.items() if count), key=lambda item: item[1])
    return sum(counts.values()), ordered[-1], ordered[0]


def class_name(value: str) -> str:
    """A class as people write it: ``3`` for ``3.0``."""
    return f"{float(value):g}"


def pos_weight_of(counts: Mapping[str, int]) -> float:
    """Negatives for each positive: the ``pos_weight`` that evens both out."""
    positives = sum(count for value, count in counts.items() if float(value) == 1)
    return (sum(counts.values()) - positives) / max(positives, 1)


def weights_of_others(counts: Mapping[str, int], weights: Sequence[float], near: float, apart: float) -> float | None:
    """How far the classes' weights are from the inverse of their frequencies (or its root) that they are in another order; None when they are not.

    ``near``: in the right order they agree within this factor; ``apart``: as they are they differ by this one at least.
    """
    by_class = {int(float(value)): count for value, count in counts.items()}
    if len(weights) < 3 or set(by_class) != set(range(len(weights))) or min(by_class.values()) <= 0 or min(weights) <= 0:
        return None
    for power in (1.0, 0.5):
        even = [1 / math.pow(by_class[i], power) for i in range(len(weights))]
        ordered = [w / e for w, e in zip(sorted(weights), sorted(even), strict=True)]
        given = [w / e for w, e in zip(weights, even, strict=True)]
        spread = max(given) / min(given)
        if max(ordered) / min(ordered) <= near and spread >= apart:
            return spread
    return None


def bars(counts: Mapping[str, int]) -> Bars:
    """The most frequent classes as bars."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:DRAWN]
    return Bars(
        title="Training labels by class" + (f" ({DRAWN} most frequent)" if len(counts) > DRAWN else ""),
        value_label="labels",
        labels=tuple(class_name(value) for value, _ in ordered),
        values=tuple(float(count) for _, count in ordered),
    )
