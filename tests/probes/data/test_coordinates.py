"""Numbers that are places within a picture, and numbers that only look like it."""

from __future__ import annotations

import pytest
import torch

from trainlint.probes.data.coordinates import readings_of, would_move

SIZE = (32, 48)
DRAW = torch.Generator().manual_seed(0)
LOW, SPAN = torch.rand(20, 2, 2, generator=DRAW).double().movedim(1, 0)
PIXELS = torch.tensor([48.0, 32.0]).double()
CORNERS = torch.cat([LOW * 0.5, LOW * 0.5 + 0.1 + 0.3 * SPAN], 1)
MIDDLES = torch.cat([0.3 + 0.4 * LOW, 0.1 + 0.3 * SPAN], 1)


def read(values, path="[1]"):
    return readings_of(path, [(one[None], SIZE) for one in values])


def test_boxes_are_told_by_their_order_and_in_other_shapes_by_their_name():
    assert read(CORNERS) == {"corners"}
    assert read(CORNERS * PIXELS.repeat(2)) == {"corners"}
    assert not read(MIDDLES)
    assert "middle and size" in read(MIDDLES, "[1][0]['boxes']")


def test_points_are_three_or_more_within_the_picture():
    points = torch.rand(20, 5, 2, generator=DRAW).double()
    assert read(points) == read(points * PIXELS) == {"points"}
    assert not read(points[:, :2])
    assert not read(points * 100)
    assert not read(points - 0.5)


@pytest.mark.parametrize(
    "values",
    [
        torch.rand(20, 4, generator=DRAW).double(),
        torch.rand(20, 4, generator=DRAW).double().softmax(-1),
        torch.rand(20, 4, generator=DRAW).double().cumsum(-1) / 4,
        torch.randint(0, 2, (20, 4), generator=DRAW).double(),
        torch.randint(0, 2, (20, 5, 2), generator=DRAW).double(),
        torch.rand(20, 5, 2, generator=DRAW).double().softmax(-1),
        CORNERS * 1000,
        CORNERS[:1].repeat(20, 1),
        CORNERS[:2],
    ],
    ids=["any", "shares", "quantiles", "flags", "pairs of flags", "pairs of shares", "outside", "the same", "few"],
)
def test_other_numbers_are_no_places(values):
    assert not read(values)


def test_what_lies_alike_on_both_sides_does_not_move():
    middle, left = torch.tensor([[18.0, 4.0, 30.0, 12.0]]), torch.tensor([[2.0, 10.0, 10.0, 22.0]])
    assert would_move(left, SIZE, (-1,), {"corners"})
    assert not would_move(middle, SIZE, (-1,), {"corners"})
    assert would_move(middle, SIZE, (-2,), {"corners"})
    assert not would_move(left, SIZE, (-2,), {"corners"})
    assert not would_move(torch.zeros(0, 4), SIZE, (-1,), {"corners"})
