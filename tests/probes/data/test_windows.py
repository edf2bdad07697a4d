from __future__ import annotations

import time

import pytest
import torch

from trainlint.probes.data.windows import overlapping

SERIES = torch.randn(600, generator=torch.Generator().manual_seed(0))


def windows(first: int, last: int, columns: bool = False):
    whole = torch.stack([SERIES, SERIES.flip(0)], 1) if columns else SERIES
    return [(whole[i : i + 24], SERIES[i + 24]) for i in range(first, last)]


def look(train, val):
    return overlapping(train.__getitem__, range(len(train)), val.__getitem__, range(len(val)), time.monotonic() + 30)


@pytest.mark.parametrize("columns", [False, True])
def test_windows_split_at_random_overlap_and_those_split_by_time_do_so_at_the_border_alone(columns):
    every = windows(0, 560, columns)
    order = torch.randperm(560, generator=torch.Generator().manual_seed(1)).tolist()
    assert look([every[i] for i in order[:460]], [every[i] for i in order[460:]]) == (100, 100)
    found, read = look(windows(0, 400, columns), windows(400, 560, columns))
    assert found < 0.15 * read


def test_flat_stretches_pictures_and_rows_are_no_windows():
    flat = [(torch.zeros(24), 0) for _ in range(40)]
    assert look(flat, flat)[0] == 0
    assert look([(torch.randn(3, 32, 32), 0)] * 5, [(torch.randn(3, 32, 32), 0)] * 5) == (0, 0)
    assert look([(torch.randn(13), 0)] * 5, [(torch.randn(13), 0)] * 5) == (0, 0)
