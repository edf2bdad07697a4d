"""Runs of different size against each other: the power law of their losses, and the runs that are off its line.

Loss over model size, data or compute is close to a straight line in logarithms over many powers of ten (Kaplan et al., Scaling Laws for
Neural Language Models, https://arxiv.org/abs/2001.08361). A run far above the line of the others has a bug or is badly tuned; one far
below knows something it should not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Scaled", "Scaling", "fit_scaling"]

FEWEST = 3
_FAR = 1.25
"""Ratio to the others' line beyond which a run is off it, unless the others scatter more themselves."""
_SCATTERS = 4.0


@dataclass(frozen=True)
class Scaled:
    """One run beside the line of the others."""

    name: str
    size: float
    loss: float
    predicted: float
    ratio: float
    verdict: str
    """``on the line``, ``far below`` or ``far above``."""


@dataclass(frozen=True)
class Scaling:
    """A power law ``loss = factor · size ** -exponent`` through several runs."""

    exponent: float
    factor: float
    runs: tuple[Scaled, ...]

    def at(self, size: float) -> float:
        """The loss that the line promises for a size."""
        return float(self.factor * size**-self.exponent)


def fit_scaling(points: Sequence[tuple[str, float, float]]) -> Scaling | None:
    """Fit the law through ``(name, size, loss)`` by the Theil-Sen line of the logarithms.

    Each run is compared with the line through the others. With three runs, where that line has nothing to be checked against, only the
    largest is judged, as an extrapolation from the smaller two. None for fewer than three different sizes.
    """
    known = sorted((size, loss, name) for name, size, loss in points if size > 0 and loss > 0 and math.isfinite(size * loss))
    if len({size for size, _, _ in known}) < FEWEST:
        return None
    slope, level = _line(known)
    compared = []
    for i, (size, loss, name) in enumerate(known):
        others = known[:i] + known[i + 1 :]
        if len({s for s, _, _ in others}) < 2:
            return None
        own_slope, own_level = _line(others)
        predicted = math.exp(own_level + own_slope * math.log(size))
        scatter = statistics.median(abs(math.log(o) - own_level - own_slope * math.log(s)) for s, o, _ in others)
        ratio = loss / predicted
        off = abs(math.log(ratio)) > max(math.log(_FAR), _SCATTERS * scatter) and (len(known) > FEWEST or i == len(known) - 1)
        verdict = "on the line" if not off else "far below" if ratio < 1 else "far above"
        compared.append(Scaled(name, size, loss, predicted, ratio, verdict))
    return Scaling(-slope, math.exp(level), tuple(compared))


def _line(points: Sequence[tuple[float, float, str]]) -> tuple[float, float]:
    """Slope and level of the Theil-Sen line through the logarithms."""
    logs = [(math.log(size), math.log(loss)) for size, loss, _ in points]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(logs) for b in logs[i + 1 :] if b[0] != a[0]]
    slope = statistics.median(slopes)
    return slope, statistics.median(y - slope * x for x, y in logs)
