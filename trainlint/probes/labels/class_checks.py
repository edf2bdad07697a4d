"""What out-of-sample predictions say about single labels, and about which class is which in validation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainlint.measurements import ClassMatch, Suspect
from trainlint.probes.data.ridge import Ridge, Rows, targets_of
from trainlint.probes.data.split_samples import Split
from trainlint.probes.labels.pairing import Probed

__all__ = ["Noise", "balanced_accuracy", "find_noise", "match_classes"]

#: Suspects that are listed; inverse temperatures that turn scores into probabilities.
_MOST, _TEMPERATURES = 50, np.geomspace(0.3, 30, 25)
#: A sample lies between two classes when their probabilities differ by less.
_BETWEEN = 0.5
#: Balanced accuracy for two classes from which the probe tells them apart: half the way from chance to 1, as it must reach for all classes.
_APART = 0.75
#: Of fewer suspects nothing is made; the probe need not be fitted again without them.
_FEW_SUSPECTS = 0.005
#: Validation samples that a class needs before it can be said to look like another.
_FEWEST = 5
#: A class has moved when it is taken for another this often, and for itself this rarely.
_OFTEN, _RARELY = 0.5, 0.2


@dataclass(frozen=True)
class Noise:
    """Training samples whose label the others contradict."""

    suspects: tuple[Suspect, ...]
    count: int
    ambiguous: float
    """Share of the other samples that lie between two classes for a probe without the suspects."""
    twins: int
    twins_apart: int


def balanced_accuracy(predicted: npt.NDArray[np.int64], given: npt.NDArray[np.int64]) -> float:
    """Mean over classes of the share that is predicted right; both are positions of classes."""
    return float(np.mean([(predicted[given == c] == c).mean() for c in np.unique(given)]))


def find_noise(probed: Probed) -> Noise:
    """Confident learning: a sample is suspect when another class is predicted at least as surely as its own members are on average.

    Northcutt, Jiang, Chuang, Confident learning, 2021, https://arxiv.org/abs/1911.00068.
    """
    split, classes = probed.split, probed.split.classes
    known = np.isin(split.labels, classes)
    given = np.searchsorted(classes, split.labels[known])
    probability = _probabilities(probed.fit.held_out[known], given)
    indices = split.indices[known]
    usual = np.array([probability[given == c, c].mean() for c in range(len(classes))])
    sure = np.where(probability >= usual, probability, 0.0)
    predicted = sure.argmax(1)
    rows = np.arange(len(given))
    suspect = (sure[rows, predicted] > 0) & (predicted != given) & (probability.argmax(1) == predicted)
    suspect &= _told_apart(probability, given)[given, predicted]
    twins, apart = _twins(split)
    order = np.argsort(-(probability[rows, predicted] - probability[rows, given]))
    listed = [int(r) for r in order if suspect[r]][:_MOST]
    return Noise(
        suspects=tuple(
            Suspect(
                index=int(indices[r]),
                label=float(classes[given[r]]),
                predicted=float(classes[predicted[r]]),
                confidence=float(probability[r, predicted[r]]),
                twin=apart.get(int(indices[r])),
            )
            for r in listed
        ),
        count=int(suspect.sum()),
        ambiguous=_between(probability[~suspect]) if suspect.mean() < _FEW_SUSPECTS else _ambiguous(split, known, suspect),
        twins=twins,
        twins_apart=len(apart),
    )


def _told_apart(probability: Rows, given: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each pair of classes whether the probe tells them apart, and not just both from the others, as by their words and not by their order."""
    classes = probability.shape[1]
    apart = np.ones((classes, classes), dtype=bool)
    for a in range(classes):
        for b in range(a):
            first = probability[:, a] > probability[:, b]
            mine, theirs = first[given == a], first[given == b]
            if len(mine) and len(theirs):
                apart[a, b] = apart[b, a] = (mine.mean() + 1 - theirs.mean()) / 2 >= _APART
    return apart


def match_classes(train: Probed, val: Split) -> ClassMatch | None:
    """Match validation classes with those that a probe fitted on training data takes them for."""
    classes = train.split.classes
    known = np.isin(val.labels, classes)
    if known.sum() < _FEWEST * 2:
        return None
    given = np.searchsorted(classes, val.labels[known])
    predicted = train.ridge.predict(val.features[known], train.targets, train.fit.strength).argmax(1)
    inside = np.isin(train.split.labels, classes)
    own = np.searchsorted(classes, train.split.labels[inside])
    confused = _rates(train.fit.held_out[inside].argmax(1), own, len(classes))
    rates = _rates(predicted, given, len(classes))
    counts = np.bincount(given, minlength=len(classes))
    matched = np.arange(len(classes))
    if (np.diag(rates)[counts >= _FEWEST] <= _RARELY).any():
        from scipy.optimize import linear_sum_assignment  # takes longer to import than this probe takes to run

        row, column = linear_sum_assignment(-np.where(counts[:, None] > 0, rates, 0.0))
        matched[row] = column
    seen = counts > 0
    moved, worst = [], 0.0
    for c in np.flatnonzero(counts >= _FEWEST):
        m = int(matched[c])
        if m != c and rates[c, m] >= _OFTEN and rates[c, c] <= _RARELY and confused[c, c] > 0.5 > confused[c, m]:
            moved.append(float(classes[c]))
            hits = round(float(rates[c, m] * counts[c]))
            worst = max(worst, _at_least(hits, int(counts[c]), max(float(confused[c, m]), 1 / len(own))))
    return ClassMatch(
        samples=int(known.sum()),
        classes=tuple(float(c) for c in classes[seen]),
        matched=tuple(float(classes[m]) for m in matched[seen]),
        as_given=float(np.mean(np.diag(rates)[seen])),
        as_matched=float(np.mean(rates[np.arange(len(classes)), matched][seen])),
        held_out=float(np.mean(np.diag(confused))),
        moved=tuple(moved),
        p=worst if moved else 1.0,
    )


def _ambiguous(split: Split, known: npt.NDArray[np.bool_], suspect: npt.NDArray[np.bool_]) -> float:
    """Share of samples, suspects left out, between two classes. Overlapping classes have many, wrong labels on clear classes few."""
    kept = np.flatnonzero(known)[~suspect]
    try:
        ridge = Ridge(split.features[kept])
        targets = targets_of(split.labels[kept], split.classes)
        held_out = ridge.held_out(targets)
    except (ValueError, np.linalg.LinAlgError):
        return 1.0
    return _between(_probabilities(held_out, np.searchsorted(split.classes, split.labels[kept])))


def _between(probability: Rows) -> float:
    found = np.sort(probability, axis=1)
    return float((found[:, -1] - found[:, -2] < _BETWEEN).mean())


def _probabilities(scores: Rows, given: npt.NDArray[np.int64]) -> Rows:
    """A softmax at the temperature under which the given labels are likeliest."""
    best: tuple[float, Rows] | None = None
    for factor in _TEMPERATURES:
        raised = np.exp(factor * (scores - scores.max(1, keepdims=True)))
        found = raised / raised.sum(1, keepdims=True)
        likelihood = float(np.log(found[np.arange(len(given)), given].clip(min=1e-12)).mean())
        if best is None or likelihood > best[0]:
            best = (likelihood, found)
    return best[1] if best is not None else scores


def _twins(split: Split) -> tuple[int, dict[int, int]]:
    """Samples whose input occurs more than once, and those of them that have another label than a twin, by index."""
    groups: dict[bytes, list[int]] = {}
    for position, row in enumerate(np.round(split.features, 6)):
        groups.setdefault(row.tobytes(), []).append(position)
    together = [group for group in groups.values() if len(group) > 1]
    apart: dict[int, int] = {}
    for group in together:
        for position in group:
            other = next((o for o in group if split.labels[o] != split.labels[position]), None)
            if other is not None:
                apart[int(split.indices[position])] = int(split.indices[other])
    return sum(map(len, together)), apart


def _rates(predicted: npt.NDArray[np.int64], given: npt.NDArray[np.int64], count: int) -> Rows:
    """Row c: how often each class is predicted for samples of class c."""
    found = np.zeros((count, count))
    np.add.at(found, (given, predicted), 1.0)
    rates: Rows = found / found.sum(1, keepdims=True).clip(min=1.0)
    return rates


def _at_least(hits: int, draws: int, chance: float) -> float:
    """Binomial probability of at least so many hits."""
    return sum(math.comb(draws, k) * chance**k * (1 - chance) ** (draws - k) for k in range(hits, draws + 1)) if chance < 1 else 1.0
