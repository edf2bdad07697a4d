"""A cheap probe with exact leave-one-out predictions: kernel ridge regression, linear and Gaussian at once, without any training loop.

Leave-one-out predictions are linear in the targets, so that hundreds of permutations of them cost one matrix product
(Golub, Heath, Wahba, Generalized cross-validation, 1979, https://doi.org/10.1080/00401706.1979.10489751).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Fit", "Ridge", "correlations", "targets_of"]

Rows = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

#: Strengths of regularisation, against a mean kernel of one on the diagonal; the best by leave-one-out is taken, for permutations too.
_STRENGTHS = (0.1, 1.0, 10.0)
#: Permutations, and columns of targets that they may add up to.
_PERMUTATIONS, _COLUMNS = 99, 1000
#: Permutations that are enough where the score lies this many of their standard deviations above them: no threshold is near.
_ENOUGH, _FAR = 19, 20.0


@dataclass(frozen=True)
class Fit:
    """How well held-out targets are predicted, against permuted ones."""

    score: float
    """Mean over the targets' columns of the correlation between held-out prediction and target."""
    chance: float
    """Mean score of permuted targets."""
    deviation: float
    """Standard deviation of the score of permuted targets."""
    strength: float
    held_out: Rows
    """``(n, columns)`` leave-one-out predictions."""

    @property
    def z(self) -> float:
        """The score's distance from that of permuted targets, in standard deviations."""
        return self.z_of(self.score)

    def z_of(self, score: float) -> float:
        """The same for another score of targets with the same columns."""
        return (score - self.chance) / self.deviation

    @property
    def p(self) -> float:
        """Probability of such a score when targets have nothing to do with inputs (normal approximation to the permutations)."""
        return 0.5 * math.erfc(self.z / math.sqrt(2))


class Ridge:
    """The probe over the features ``(n, d)`` of one set of samples."""

    def __init__(self, features: Rows) -> None:
        self._mean, spread = features.mean(0), features.std(0)
        self._used = spread > 1e-9 * max(float(np.abs(features).max(initial=0.0)), 1e-30)
        if not self._used.any():
            raise ValueError("all inputs have the same features")
        self._spread = spread[self._used]
        self.rows = self.scale(features)
        squares = _squares(self.rows, self.rows)
        np.fill_diagonal(squares, 0.0)
        self._width = max(float(np.median(squares[np.tri(len(squares), k=-1, dtype=bool)])), 1e-12)
        distances = squares.copy()
        np.fill_diagonal(distances, np.inf)
        self.neighbour = distances.argmin(1)
        """The nearest other sample of each."""
        self.nearest: Rows = np.sqrt(distances.min(1).astype(np.float64) / self._width)
        """Its distance, against the median distance of two samples."""
        self._kernel_mean: Single = np.zeros(0, np.float32)
        kernel = self._kernel(self.rows, squares)
        self._kernel_mean = kernel.mean(0)
        centred = kernel - self._kernel_mean - self._kernel_mean[:, None] + self._kernel_mean.mean()
        self._diagonal = max(float(np.trace(centred)) / len(centred), 1e-12)
        self._kernel_centred: Single = centred / self._diagonal
        self._inverses: dict[float, Single] = {}

    def scale(self, features: Rows) -> Single:
        """Standardise by the statistics of the samples that the probe was built on.

        In single precision, which takes half the time and is a thousand times finer than the least regularisation.
        """
        scaled: Rows = ((features - self._mean)[:, self._used] / self._spread).clip(-10, 10)
        narrow: Single = (scaled / math.sqrt(scaled.shape[1])).astype(np.float32)
        return narrow

    def fit(self, targets: Rows, generator: np.random.Generator) -> Fit:
        """Score ``targets`` (n, columns) against permutations of their rows, a few where the answer is clear."""
        count = max(39, min(_PERMUTATIONS, _COLUMNS // targets.shape[1]))
        orders = np.stack([generator.permutation(len(targets)) for _ in range(count)])
        few = np.concatenate([targets[:, None], targets[orders[:_ENOUGH]].transpose(1, 0, 2)], axis=1)  # (n, 1 + permutations, columns)
        scores, strength, kept = self._best(few)
        if scores[0] - scores[1:].mean() < _FAR * scores[1:].std(ddof=1):
            scores = np.concatenate([scores, self._best(targets[orders[_ENOUGH:]].transpose(1, 0, 2))[0]])
        deviation = max(float(scores[1:].std(ddof=1)), 1e-9)
        return Fit(float(scores[0]), float(scores[1:].mean()), deviation, strength, kept)

    def held_out(self, targets: Rows) -> Rows:
        """Leave-one-out predictions of ``targets`` (n, columns), without permutations."""
        return self._best(targets[:, None])[2]

    def score(self, targets: Rows) -> float:
        """How well ``targets`` (n, columns) are predicted, without permutations."""
        return float(self._best(targets[:, None])[0][0])

    def _best(self, tested: Rows) -> tuple[Rows, float, Rows]:
        """Best scores of several targets ``(n, several, columns)``, and the strength and held-out predictions of the first."""
        best, scores, kept = _STRENGTHS[0], np.full(tested.shape[1], -np.inf), tested[:, 0]
        narrow: Single = tested.astype(np.float32)
        for strength in _STRENGTHS:
            predicted = self._held_out(narrow.reshape(len(narrow), -1), strength).reshape(narrow.shape)
            found = correlations(predicted, narrow).mean(1)
            if found[0] > scores[0]:
                best, kept = strength, predicted[:, 0].astype(np.float64)
            scores = np.maximum(scores, found)
        return scores, best, kept

    def _held_out(self, targets: Single, strength: float) -> Single:
        """Leave-one-out predictions of ``targets`` (n, columns): what is left of each, by what its own target weighs in its prediction."""
        inverse = self._inverse(strength)
        missed = strength * (inverse @ targets) - targets.mean(0)
        apart = strength * np.diagonal(inverse) - 1 / len(targets)
        left: Single = targets - missed / apart.clip(min=1e-6)[:, None]
        return left

    def _inverse(self, strength: float) -> Single:
        """The inverse of the regularised kernel. Raises LinAlgError where features were not finite."""
        if strength not in self._inverses:
            kernel = torch.from_numpy(self._kernel_centred + strength * np.eye(len(self.rows), dtype=np.float32))
            factor, failed = torch.linalg.cholesky_ex(kernel)
            if failed:
                msg = "the kernel is not positive definite"
                raise np.linalg.LinAlgError(msg)
            self._inverses[strength] = torch.cholesky_inverse(factor).numpy()
        return self._inverses[strength]

    def predict(self, features: Rows, targets: Rows, strength: float) -> Rows:
        """Predictions ``(m, columns)`` for other samples after learning this set's ``targets``."""
        kernel = self._kernel(self.scale(features))
        centred = kernel - kernel.mean(1, keepdims=True) - self._kernel_mean + self._kernel_mean.mean()
        predicted: Rows = centred / self._diagonal @ (self._inverse(strength) @ (targets - targets.mean(0))) + targets.mean(0)
        return predicted

    def _kernel(self, rows: Single, squares: Single | None = None) -> Single:
        near: Single = np.exp(-(_squares(rows, self.rows) if squares is None else squares) / self._width)
        kernel: Single = near + rows @ self.rows.T
        return kernel


def targets_of(labels: Rows, classes: Rows) -> Rows:
    """One column for each class, weighted so that rare classes count as much as frequent ones."""
    hot = (labels[:, None] == classes[None]).astype(np.float64)
    share = hot.mean(0).clip(min=1e-9)
    weighted: Rows = (hot - share) / np.sqrt(share * (1 - share)).clip(min=1e-9)
    return weighted


def _squares(one: Single, other: Single) -> Single:
    found: Single = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return found.clip(min=0.0)


def correlations(one: Rows | Single, other: Rows | Single) -> Rows:
    """Correlations along the first axis."""
    a, b = one - one.mean(0), other - other.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    found: Rows = np.where(scale > 1e-12, (a * b).sum(0) / scale.clip(min=1e-12), 0.0)
    return found
