"""Class weights that belong to other classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trainlint.finding import Fix, Severity
from trainlint.measurements import LossCall
from trainlint.rule import Verdict, failed
from trainlint_rules._label_counts import DRAWN, bars, extremes

__all__ = ["out_of_order"]

#: Class weights agree with the inverse of frequencies within the first factor when both are sorted, and differ by the second as they are.
SAME, ELSEWHERE = 1.15, 1.5


def out_of_order(counts: Mapping[str, int], call: LossCall) -> Verdict | None:
    """Class weights that are right for these frequencies, but for other classes."""
    weights = call.class_weights
    times = _times_apart(counts, weights)
    if times is None:
        return None
    _, (common, most), (rare, least) = extremes(counts)
    return failed(
        f"The class weights are the inverse of the classes' frequencies, but in another order than the classes: class {common} has {most:,} labels "
        f"and weighs {weights[int(common)]:.3g}, class {rare} has {least:,} and weighs {weights[int(rare)]:.3g}.",
        severity=Severity.WARNING,
        evidence={"measured": times, "expected": 1.0, "threshold": ELSEWHERE, "weights": list(weights[:DRAWN])},
        location=call.weighed_where or call.built_where or call.where,
        fix=Fix(
            summary="Count by class index: value_counts() and Counter go by frequency or first appearance.",
            code="counts = torch.bincount(train_labels)  # or value_counts().sort_index()",
        ),
        details=(bars(counts),),
    )


def _times_apart(counts: Mapping[str, int], weights: Sequence[float]) -> float | None:
    """How far weights are from the inverse of the frequencies, or its root, that they are in another order; None when they are not."""
    by_class = {int(float(value)): count for value, count in counts.items()}
    if len(weights) < 3 or set(by_class) != set(range(len(weights))) or min(by_class.values()) <= 0 or min(weights) <= 0:
        return None
    for power in (1.0, 0.5):
        even = [1 / math.pow(by_class[i], power) for i in range(len(weights))]
        ordered = [w / e for w, e in zip(sorted(weights), sorted(even), strict=True)]
        given = [w / e for w, e in zip(weights, even, strict=True)]
        spread = max(given) / min(given)
        if max(ordered) / min(ordered) <= SAME and spread >= ELSEWHERE:
            return spread
    return None
