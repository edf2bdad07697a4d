"""Whether losses or gradients grew before something broke."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

__all__ = ["growth"]

#: Values that count as the last ones.
_LAST = 3


def growth(*series: Iterable[float | None]) -> float | None:
    """The largest of the last three values in medians of those before them, of the series in which that is most.

    Args:
        series: Losses, gradient norms, each in order of time; what is missing or not finite is left out. Signs do not count.

    Returns:
        None where no series has two values to compare, or all earlier ones are zero.
    """
    found = []
    for values in series:
        sizes = [abs(v) for v in values if v is not None and math.isfinite(v)]
        if len(sizes) < 2:
            continue
        usual = statistics.median(sizes[:-_LAST] or sizes[:1])
        if usual > 0:
            found.append(max(sizes[-_LAST:]) / usual)
    return max(found, default=None)
