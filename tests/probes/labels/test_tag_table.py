"""Tags of sequences against the tokens around them, on made data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from trainlint.probes.labels.tag_table import displaced_tags

VOCABULARY, TAGS = 60, 5


def sentences(seed=0, count=150):
    rng = np.random.default_rng(seed)
    return rng, [rng.integers(0, VOCABULARY, rng.integers(10, 21)) for _ in range(count)]


def by_class(seed=0):
    """Tags that follow from the token's class, one in ten wrong."""
    rng, tokens = sentences(seed)
    kind = rng.integers(0, TAGS, VOCABULARY)
    return tokens, [np.where(rng.random(len(t)) < 0.1, rng.integers(0, TAGS, len(t)), kind[t]) for t in tokens]


def by_both(own):
    """Tags that follow from their own token with this probability, else from the one before."""
    rng, tokens = sentences()
    kind, after = rng.integers(0, TAGS, VOCABULARY), rng.integers(0, TAGS, VOCABULARY)
    return tokens, [np.where(rng.random(len(t)) < own, kind[t], after[np.roll(t, 1)]) for t in tokens]


def by_sum():
    rng, tokens = sentences()
    kind = rng.integers(0, TAGS, VOCABULARY)
    return tokens, [(kind[t] + kind[np.roll(t, 1)]) % TAGS for t in tokens]


def entities():
    """B and I of three kinds of name, each behind a word that announces it."""
    rng, tokens, tags = np.random.default_rng(0), [], []
    for _ in range(300):
        words, given = [], []
        while len(words) < 24:
            kind = rng.integers(3)
            length = rng.integers(1, 4) if rng.random() < 0.15 else 0
            words += [kind, *(rng.integers(100, 140, length) * 3 + kind)] if length else [rng.integers(10, 200)]
            given += [0, *(2 * kind + 1 + (np.arange(length) > 0))] if length else [0]
        tokens.append(np.array(words[:24]))
        tags.append(np.array(given[:24]))
    return tokens, tags


def word_starts():
    """Letters, of which the one behind each space begins a word."""
    rng, tokens = np.random.default_rng(0), []
    for _ in range(200):
        tokens.append(np.concatenate([[*rng.integers(1, 27, rng.integers(2, 7)), 0] for _ in range(6)]))
    return tokens, [(np.concatenate([[0], t[:-1]]) == 0).astype(int) for t in tokens]


def next_tokens():
    _, tokens = sentences()
    return [t[:-1] for t in tokens], [t[1:] for t in tokens]


@pytest.mark.parametrize("made", [by_class(), by_class(1), by_both(0.5), by_both(0.2), by_sum(), entities(), word_starts(), next_tokens()])
def test_tags_beside_their_tokens_and_tags_that_follow_from_others_are_let_be(made):
    assert displaced_tags(*made) is None


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_tags_that_were_moved_are_told_with_their_distance(shift):
    tokens, tags = by_class()
    found = displaced_tags(tokens, [np.roll(t, -shift) for t in tags])
    assert found.shift == shift
    assert found.accuracy > 0.8
    assert found.own_accuracy < 0.35


def test_unknown_tags_and_pads_do_not_count():
    tokens, tags = by_class()
    padded = [np.concatenate([t, np.zeros(20 - len(t) + 5, int)]) for t in tokens]
    known = [np.concatenate([np.full(1, -100), t[:-1], np.full(20 - len(t) + 5, -100)]) for t in tags]
    assert displaced_tags(padded, known).shift == -1
    zeros = [np.where(k < 0, 0, k) for k in known]
    assert displaced_tags(padded, zeros).shift == -1


def test_few_sequences_say_nothing():
    tokens, tags = by_class()
    assert displaced_tags(tokens[:20], [np.roll(t, 1) for t in tags[:20]]) is None
    assert displaced_tags([], []) is None
    assert displaced_tags([np.zeros(5, int)] * 50, [np.zeros(5, int)] * 50) is None
