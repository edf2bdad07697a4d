"""What counts of labels by class say, and their picture."""

from __future__ import annotations

from collections.abc import Mapping

from trainlint.details import Bars

__all__ = ["DRAWN", "bars", "class_name", "extremes", "pos_weight_of"]

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


def bars(counts: Mapping[str, int]) -> Bars:
    """The most frequent classes as bars."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])[:DRAWN]
    return Bars(
        title="Training labels by class" + (f" ({DRAWN} most frequent)" if len(counts) > DRAWN else ""),
        value_label="labels",
        labels=tuple(class_name(value) for value, _ in ordered),
        values=tuple(float(count) for _, count in ordered),
    )
