"""Whether the tags of sequences belong to the tokens beside theirs: a table from token to tag, for the tag's own place and those around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Displaced", "displaced_tags"]

Ids = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]

#: How far tags are moved, and how often a table must know both tokens that are compared.
_REACH, _SEEN = 3, 3
#: Fewest sequences, places that count, and tokens for each tag.
_SEQUENCES, _PLACES, _TOKENS_PER_TAG = 30, 200, 2
#: Share of the tags equal to a token at one distance from which the tags are tokens, as those of a language model.
_TOKENS = 0.3
#: Share of what the most frequent tag leaves open that the other token must tell, and the most that the tag's own may tell of that.
_TELLS, _OWN = 0.4, 0.5
#: Share of the tags not told by the other token, of so many or more, that the own token tells where tags follow from both.
_BOTH, _MISSED = 0.5, 10
#: The two tokens that tell most must tell no more than this share: a space tells where words begin, and is no word.
_FEW_TELL = 0.5
#: Standard deviations between sequences by which the other token must be better.
_SURE = 8.0
_NOTHING = -1


@dataclass(frozen=True)
class Displaced:
    """Tags that are told by another token than the one at their place."""

    shift: int
    """The token's place less the tag's: -1 for the token before."""
    accuracy: float
    own_accuracy: float
    base: float
    """Held-out shares of right tags: by the token at ``shift``, by the tag's own, and by the most frequent tag."""
    z: float
    sequences: int
    places: int


def displaced_tags(tokens: Sequence[Ids], tags: Sequence[Ids]) -> Displaced | None:
    """Compare places; None unless tags clearly belong to another one. Tags below zero are not known; pads at either end are left out."""
    rows = [row for pair in zip(tokens, tags, strict=True) if (row := _known(*pair)) is not None]
    if len(rows) < _SEQUENCES:
        return None
    ids, labels, owners = (
        np.concatenate(part) for part in zip(*((w, t, np.full(len(t), i)) for i, (w, t) in enumerate(rows)), strict=True)
    )
    vocabulary, around = np.unique(ids, return_inverse=True)
    names, given = np.unique(labels, return_inverse=True)
    around = around.reshape(ids.shape)
    if len(names) < 2 or len(vocabulary) - 1 < _TOKENS_PER_TAG * len(names) or ((ids == labels[:, None]).mean(0) > _TOKENS).any():
        return None
    fold = owners % 2 == 0
    seen, hits, usual = _look_up(around, given, fold, (len(vocabulary), len(names)))
    own = _REACH
    best: tuple[float, int, Truth] | None = None
    for column in (c for c in range(2 * _REACH + 1) if c != own):
        counted = seen[:, column] & seen[:, own]
        if counted.sum() >= _PLACES:
            told = _skill(hits[counted, column], usual[counted])
            if best is None or told > best[0]:
                best = (told, column, counted)
    if best is None:
        return None
    told, column, counted = best
    if told < _TELLS or _skill(hits[counted, own], usual[counted]) > _OWN * told:
        return None
    missed = counted & ~hits[:, column]
    if missed.sum() >= _MISSED and hits[missed, own].mean() > _BOTH:
        return None
    gains = hits[counted, column].astype(float) - usual[counted]
    by_token = np.sort(np.bincount(around[counted, column], gains))
    if by_token[-2:].sum() > _FEW_TELL * gains.sum():
        return None
    better = hits[counted, column].astype(float) - hits[counted, own]
    z = _apart(better, owners[counted])
    if z < _SURE:
        return None
    return Displaced(
        shift=column - _REACH,
        accuracy=float(hits[counted, column].mean()),
        own_accuracy=float(hits[counted, own].mean()),
        base=float(usual[counted].mean()),
        z=z,
        sequences=len(np.unique(owners[counted])),
        places=int(counted.sum()),
    )


def _known(tokens: Ids, tags: Ids) -> tuple[Ids, Ids] | None:
    """``(tokens around each place that has a tag, its tag)``; the first ``(n, 2 * _REACH + 1)``."""
    inside = _filled(tokens)
    padded = np.pad(np.where(inside, tokens, _NOTHING), _REACH, constant_values=_NOTHING)
    counted = inside & (tags >= 0)
    if not counted.any():
        return None
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * _REACH + 1)[counted], tags[counted]


def _filled(tokens: Ids) -> Truth:
    """Places between the runs of one id, of two or more, at either end."""
    other = np.flatnonzero(tokens[1:] != tokens[:-1])
    inside = np.ones(len(tokens), dtype=np.bool_)
    if not len(other):
        return ~inside
    if other[0] > 0:
        inside[: other[0] + 1] = False
    if other[-1] < len(tokens) - 2:
        inside[other[-1] + 1 :] = False
    return inside


def _look_up(around: Ids, given: Ids, fold: Truth, shape: tuple[int, int]) -> tuple[Truth, Truth, Truth]:
    """``(known, right)`` for each place and distance, and where the most frequent tag is right, by tables of the other half of the sequences."""
    seen, hits = np.zeros(around.shape, dtype=np.bool_), np.zeros(around.shape, dtype=np.bool_)
    usual = np.zeros(len(given), dtype=np.bool_)
    for half in (fold, ~fold):
        prior = np.bincount(given[~half], minlength=shape[1])
        usual[half] = given[half] == prior.argmax()
        for column in range(around.shape[1]):
            table = np.bincount(around[~half, column] * shape[1] + given[~half], minlength=shape[0] * shape[1]).reshape(shape)
            tag = (table + prior / max(prior.sum(), 1)).argmax(1)
            seen[half, column] = table.sum(1)[around[half, column]] >= _SEEN
            hits[half, column] = tag[around[half, column]] == given[half]
    return seen, hits, usual


def _skill(hits: Truth, usual: Truth) -> float:
    """The share told of what the most frequent tag leaves open."""
    base = float(usual.mean())
    return (float(hits.mean()) - base) / max(1 - base, 1e-9)


def _apart(better: npt.NDArray[np.float64], owners: Ids) -> float:
    """The mean over sequences in standard errors; half a place more of variance, so that equal sequences are not infinitely sure."""
    counts = np.bincount(owners)
    means = np.bincount(owners, better)[counts > 0] / counts[counts > 0]
    wide = np.sqrt((means.var(ddof=1) + 0.25 / float(counts[counts > 0].mean())) / len(means))
    return float(means.mean() / wide)
