"""Whether label maps were interpolated: between two classes lies a thin line of a third, whose number is between theirs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from trainlint.measurements import BetweenLabels

__all__ = ["between_labels"]

#: Classes from which numbers between two others are told from neighbours in an order, and the least difference of the outer two.
_CLASSES, _GAP = 4, 3
#: Most different values of a map of classes.
_MOST = 256


def between_labels(masks: list[Tensor]) -> BetweenLabels | None:
    """Count, along rows and columns, single pixels of a third class between two that differ by three or more; None for other targets."""
    thin = middle = 0
    pairs: set[tuple[int, int]] = set()
    values: set[int] = set()
    for mask in masks:
        plain = mask.detach().cpu().reshape(mask.shape[-2:]) if mask.numel() == mask.shape[-1] * mask.shape[-2] else None
        if plain is None or plain.is_floating_point() or plain.is_complex():
            return None
        rows = plain.to(dtype=plain.dtype).numpy().astype(np.int64)
        values |= set(np.unique(rows).tolist())
        if len(values) > _MOST:
            return None
        for lines in (rows, rows.T):
            before, here, after = lines[:, :-2], lines[:, 1:-1], lines[:, 2:]
            single = (before != here) & (here != after) & (abs(before - after) >= _GAP)
            inside = single & (np.minimum(before, after) < here) & (here < np.maximum(before, after))
            thin += int(single.sum())
            middle += int(inside.sum())
            pairs |= set(zip(np.minimum(before, after)[inside].tolist(), np.maximum(before, after)[inside].tolist(), strict=True))
    if len(values) < _CLASSES:
        return None
    return BetweenLabels(thin=thin, between=middle, pairs=len(pairs), classes=len(values), masks=len(masks))
