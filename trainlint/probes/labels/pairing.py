"""Positive evidence that labels were joined wrongly: another pairing fits, or a probe that works elsewhere finds nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainlint.measurements import Mismatch, Repair
from trainlint.probes.data.datasets import size_of
from trainlint.probes.data.ridge import Fit, Ridge, Rows, correlations
from trainlint.probes.data.split_samples import Indices, Split, labels_by_root, root_of
from trainlint.probes.errors import CannotMeasureError

__all__ = ["Probed", "find_mismatch", "find_repair", "find_stretch", "paired", "pairings"]

#: How far labels may have slipped.
_SHIFTS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
#: Share of the samples whose label under another pairing must be known.
_KNOWN = 0.6
#: Standard deviations from which a pairing is asked whether stretches of the dataset explain it; neighbours that exchange labels for that, and the share
#: of the fit that then may be left.
_FAR, _NEIGHBOURS, _LEFT = 6.0, 10, 0.5
#: Random permutations against which a probe from elsewhere is judged.
_PERMUTATIONS = 199
#: Stretches that an ordered dataset is cut into; the fewest samples of a run of them, and the largest share of all that it may be.
_BLOCKS, _FEWEST, _LARGEST = 20, 60, 0.6
#: A run of stretches is looked at when its labels are predicted this much worse than the rest, and come this well mixed.
_WORSE, _MIXED = 0.3, 0.5


@dataclass(eq=False)
class Probed:
    """One part of the data with its probe."""

    split: Split
    ridge: Ridge
    targets: Rows
    fit: Fit


def pairings(dataset: Any, size: int) -> Iterator[tuple[str, Indices]]:
    """Yield ``(name, order)``: the input at position i may belong to the label at ``order[i]``; -1 where there is none."""
    places = np.arange(size)
    for shift in _SHIFTS:
        moved = places + shift
        yield f"labels moved by {-shift:+d}", np.where((moved >= 0) & (moved < size), moved, -1)
    yield "labels in reverse order", places[::-1].copy()
    for base in (0, 1):
        sorted_as_text = np.array(sorted(range(size), key=lambda number: str(number + base)), dtype=np.int64)
        yield "numbered inputs in numeric instead of alphabetic order", sorted_as_text
        yield "numbered labels in numeric instead of alphabetic order", np.argsort(sorted_as_text)
    held = getattr(dataset, "__dict__", {})
    for name, value in held.items() if isinstance(held, dict) else ():
        try:
            order = np.asarray(value)
        except Exception:
            continue
        if order.ndim == 1 and order.size == size and order.dtype.kind in "iu" and np.array_equal(np.sort(order), places):
            yield f"labels taken in the order of .{name} too", order.astype(np.int64)
            yield f"inputs taken in the order of .{name} too", np.argsort(order)


def find_repair(probed: Probed, others: list[Split]) -> Repair | None:
    """The pairing under which labels fit best, far from chance or not.

    Labels that come in stretches fit inputs that do so too under any pairing that keeps stretches. So what labels of neighbours, exchanged with each
    other, fit as well is no repair.
    """
    best: Repair | None = None
    for name, given in _repaired(probed.split, others):
        known = np.isfinite(given).reshape(len(given), -1).all(1)
        if known.mean() < _KNOWN or np.array_equal(given[known], probed.split.labels[known]):
            continue
        score = probed.ridge.score(probed.split.columns(given))
        if (best is None or score > best.score) and not _by_stretches(probed, given, score):
            best = Repair(name=name, score=score, z=probed.fit.z_of(score))
    return best


def _by_stretches(probed: Probed, given: Rows, score: float) -> bool:
    """Whether labels under a pairing fit about as well when they are exchanged between neighbours in the dataset."""
    if probed.fit.z_of(score) < _FAR:
        return False
    split, generator = probed.split, np.random.default_rng(0)
    order = np.argsort(split.roots, kind="stable")
    groups = np.arange(len(order)) // _NEIGHBOURS
    mixed = given.copy()
    mixed[order] = given[order[np.lexsort((generator.random(len(order)), groups))]]
    return probed.ridge.score(split.columns(mixed)) > _LEFT * score


def paired(split: Split, others: list[Split], name: str) -> Rows:
    """The labels that the samples of a part have under a pairing, NaN where there is none. Raises CannotMeasureError for an unknown one."""
    found = next((given for known, given in _repaired(split, others) if known == name), None)
    if found is None:
        msg = f"the labels cannot be paired again ({name})"
        raise CannotMeasureError(msg)
    return found


def _repaired(split: Split, others: list[Split]) -> Iterator[tuple[str, Rows]]:
    """Yield ``(name, labels)`` of the samples under each pairing."""
    root, _ = root_of(split.samples.dataset, split.indices)
    labels = labels_by_root([split, *others]).get(id(root))
    size = size_of(root)
    if labels is None or size is None or len(labels) != size or size < 3:
        return
    for name, order in pairings(root, size):
        wanted = order[split.roots]
        yield name, np.where((wanted >= 0).reshape(-1, *[1] * (labels.ndim - 1)), labels[wanted], np.nan)


def find_mismatch(sure: Probed, doubtful: Probed, other: str, generator: np.random.Generator) -> Mismatch:
    """How a probe fitted on one set of samples fares on another whose own labels it cannot learn from."""
    predicted = sure.ridge.predict(doubtful.split.features, sure.targets, sure.fit.strength)
    wanted = _as_targets(sure.split, doubtful.split)
    score, z = _against_permutations(predicted, wanted, generator)
    spread = float(np.sqrt(((predicted - sure.targets.mean(0)) ** 2).mean()))
    usual = float(np.sqrt(((sure.fit.held_out - sure.targets.mean(0)) ** 2).mean()))
    return Mismatch(
        other=other,
        samples=len(wanted),
        other_score=sure.fit.score,
        score=score,
        z=z,
        expected_z=sure.fit.z * float(np.sqrt(min(1.0, len(wanted) / len(sure.targets)))),
        own_z=doubtful.fit.z,
        confidence=spread / max(usual, 1e-12),
    )


def find_stretch(probed: Probed, generator: np.random.Generator) -> Mismatch | None:
    """A contiguous stretch of the dataset whose labels fit their inputs far worse than the rest do."""
    split, count = probed.split, len(probed.targets)
    order = np.argsort(split.roots, kind="stable")
    agreement = (probed.fit.held_out * probed.targets).mean(1)[order]
    window = _worst_run(agreement)
    if window is None:
        return None
    inside = np.sort(order[window[0] : window[1]])
    chosen = np.isin(np.arange(count), inside)
    if not _is_mixed(split, order[window[0] : window[1]]):
        return None
    try:
        rest, part = _probe_part(probed, ~chosen, generator), _probe_part(probed, chosen, generator)
        found = find_mismatch(rest, part, "the other samples", generator)
    except (ValueError, np.linalg.LinAlgError):
        return None
    roots = split.roots[inside]
    return replace(found, first=int(roots.min()), last=int(roots.max()))


def _worst_run(agreement: Rows) -> tuple[int, int] | None:
    """The run of stretches whose mean lies lowest against the rest, in standard errors; None when none is much worse."""
    edges = np.linspace(0, len(agreement), _BLOCKS + 1).astype(int)
    sums = np.concatenate([[0.0], np.cumsum(agreement)])
    best: tuple[float, int, int] | None = None
    for i in range(_BLOCKS):
        for j in range(i + 1, _BLOCKS + 1):
            first, last = int(edges[i]), int(edges[j])
            size, rest = last - first, len(agreement) - (last - first)
            if size < _FEWEST or size > _LARGEST * len(agreement):
                continue
            inside = (sums[last] - sums[first]) / size
            outside = (sums[-1] - sums[last] + sums[first]) / rest
            gap = (outside - inside) / np.sqrt(1 / size + 1 / rest)
            if inside < _WORSE * outside and (best is None or gap > best[0]):
                best = (float(gap), first, last)
    return (best[1], best[2]) if best is not None else None


def _is_mixed(split: Split, ordered: Indices) -> bool:
    """Whether labels come mixed in this order, so that the stretch is no class or group of its own."""
    if split.kind != "classes":
        return True
    labels = split.labels[ordered]
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    changes = float((labels[1:] != labels[:-1]).mean())
    return bool(1 - (shares**2).sum() > 0.2) and changes > _MIXED * (1 - float((shares**2).sum()))


def _probe_part(probed: Probed, chosen: np.ndarray[Any, np.dtype[np.bool_]], generator: np.random.Generator) -> Probed:
    split = probed.split
    part = replace(split, features=split.features[chosen], labels=split.labels[chosen])
    ridge = Ridge(part.features)
    targets = part.columns()
    return Probed(part, ridge, targets, ridge.fit(targets, generator))


def _as_targets(sure: Split, doubtful: Split) -> Rows:
    """The labels of one part as columns of the other's probe."""
    if sure.kind != "classes":
        return doubtful.columns()
    hot = (doubtful.labels[:, None] == sure.classes[None]).astype(np.float64)
    centred: Rows = hot - hot.mean(0)
    return centred


def _against_permutations(predicted: Rows, wanted: Rows, generator: np.random.Generator) -> tuple[float, float]:
    """``(score, z)`` of predictions, against permuted targets."""
    orders = [np.arange(len(wanted)), *(generator.permutation(len(wanted)) for _ in range(_PERMUTATIONS))]
    scores = np.array([float(correlations(predicted, wanted[order]).mean()) for order in orders])
    deviation = max(float(scores[1:].std(ddof=1)), 1e-9)
    return float(scores[0]), float((scores[0] - scores[1:].mean()) / deviation)
