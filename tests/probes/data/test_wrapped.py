"""Pixels that run over the end of 8 bits, and augmentation that looks alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainlint.probes.data.wrapped import _wraps

DRAW = np.random.default_rng(0)


def over(x):
    return (x.astype(np.int16) + DRAW.integers(0, 101)).astype(np.uint8).astype(float)


def clipped(x):
    return (x + DRAW.integers(0, 101)).clip(0, 255)


def erased(x):
    x, corner = (np.full_like(x, 255.0) * DRAW.uniform(0.7, 1)).copy(), DRAW.integers(0, 12)
    x[corner : corner + 8, corner : corner + 8] = 0
    return x


def inverted(x):
    return 255 - x if DRAW.random() < 0.5 else x


@pytest.mark.parametrize(("augment", "wraps"), [(over, True), (clipped, False), (erased, False), (inverted, False)])
def test_pixels_that_wrap_round(augment, wraps):
    picture = DRAW.normal(175, 20, (24, 24)).clip(0, 255)
    picture[5:8] = (picture[5:8] + 40).clip(0, 255)
    read = [torch.from_numpy(augment(picture)).flatten() for _ in range(24)]
    found = [_wraps(a, b, 256.0) for a in read for b in read if a is not b]
    assert (sum(found) >= 0.05 * len(found)) == wraps
    assert wraps or not any(found)
