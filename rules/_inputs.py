"""What entered the model, in numbers: shared by the rules that judge inputs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from trainlint.location import Location
from trainlint.measurements import BatchView, Leaf

__all__ = ["InputStats", "made_where", "main_input", "pool"]


@dataclass(frozen=True, kw_only=True)
class InputStats:
    """The main input of one phase, over its recorded batches."""

    kind: str
    where: Location | None
    side: int
    """Shorter side of a picture in pixels."""
    minimum: float
    maximum: float
    mean: float
    std: float
    means: tuple[float, ...]
    """Per channel of a picture, per column of a table."""
    stds: tuple[float, ...]

    @property
    def rms(self) -> float:
        """Root mean square."""
        return math.hypot(self.mean, self.std)

    @property
    def scales(self) -> dict[int, float]:
        """Root mean square of each channel or column that varies, by its position."""
        return {i: math.hypot(m, s) for i, (m, s) in enumerate(zip(self.means, self.stds, strict=True)) if s > 0}

    @property
    def span(self) -> str:
        """The range in words: pixels that were scaled (``0-1``), raw (``0-255``) or normalised (``signed``)."""
        if self.minimum < 0:
            return "signed"
        return "0-1" if self.maximum <= 1 else "0-255" if self.maximum <= 255 else "positive"

    def __str__(self) -> str:
        return f"{self.minimum:.3g} to {self.maximum:.3g} (mean {self.mean:.3g}, std {self.std:.3g})"


def main_input(view: BatchView) -> Leaf | None:
    """Pick the largest tensor that enters the model, of equal ones that with most values: the data rather than a mask, a step or a length."""
    inputs = view.inputs or tuple(leaf for leaf in view.leaves if leaf.role == "input")
    return max(
        inputs, key=lambda leaf: (not _is_mask(leaf), math.prod(leaf.shape), leaf.maximum > leaf.minimum, leaf.distinct), default=None
    )


def _is_mask(leaf: Leaf) -> bool:
    """Whether it says which of its model's places see which; one of (B, T, T) is larger than the tokens (B, T) that it belongs to."""
    return leaf.dtype == "bool" or (leaf.kind == "mask" and len(leaf.shape) > 2 and leaf.shape[-1] == leaf.shape[-2])


def made_where(view: BatchView) -> Location | None:
    """The line that made what enters the model, else the one that built its dataset."""
    leaf = main_input(view)
    return (leaf.made_where if leaf else None) or view.where


def pool(views: Sequence[BatchView]) -> InputStats | None:
    """Merge the main input's statistics over a phase's recorded batches; None when it has no scale to speak of."""
    leaves = [leaf for view in views if (leaf := main_input(view)) and _has_scale(leaf)]
    leaves = [leaf for leaf in leaves if (leaf.kind, len(leaf.channel_mean)) == (leaves[0].kind, len(leaves[0].channel_mean))]
    if not leaves:
        return None
    mean, std = _merge([(leaf.mean, leaf.std) for leaf in leaves])
    channels = [_merge([(leaf.channel_mean[i], leaf.channel_std[i]) for leaf in leaves]) for i in range(len(leaves[0].channel_mean))]
    return InputStats(
        kind=leaves[0].kind,
        where=made_where(views[0]),
        side=min(leaves[0].shape[2:], default=0),
        minimum=min(leaf.minimum for leaf in leaves),
        maximum=max(leaf.maximum for leaf in leaves),
        mean=mean,
        std=std,
        means=tuple(m for m, _ in channels),
        stds=tuple(s for _, s in channels),
    )


def _has_scale(leaf: Leaf) -> bool:
    """Tell measurements from ids, masks and single numbers a sample."""
    if leaf.kind not in ("image", "table", "sequence", "tensor") or math.prod(leaf.shape[1:]) < 2:
        return False
    return "float" in leaf.dtype or (leaf.kind == "image" and "uint8" in leaf.dtype)


def _merge(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Merge means and standard deviations of batches of about equal size."""
    mean = statistics.fmean(m for m, _ in parts)
    return mean, math.sqrt(max(statistics.fmean(m * m + s * s for m, s in parts) - mean * mean, 0.0))
