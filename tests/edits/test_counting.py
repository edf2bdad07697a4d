"""Counters that forget what they counted before."""

import pytest

from .edited import edited, refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("for g in graphs:\n    offset = g.num_nodes  # here\n", "for g in graphs:\n    offset += g.num_nodes\n"),
        ("for x, e in rows:\n    start = len(x)  # here\n", "for x, e in rows:\n    start += len(x)\n"),
        ("for x, e in rows:\n    start = x.shape[0]  # here\n", "for x, e in rows:\n    start += x.shape[0]\n"),
    ],
)
def test_what_is_counted_is_added(before: str, after: str) -> None:
    assert edited("running-sum", before) == after


@pytest.mark.parametrize(
    "before",
    ["offset = offset + n - 1  # here\n", "offset += n - 1  # here\n", "def collate(rows):  # here\n    pass\n", "a.b = n  # here\n"],
)
def test_other_lines_are_left(before: str) -> None:
    refused("running-sum", before)
