"""Reshapes that are made transposes in the source, and columns that lose their last axis."""

import pytest

from .edited import becomes, edited, refused

HEADS = {"line": 1, "before": [8, 16, 128], "after": [8, 4, 16, 32], "opened": [8, 16, 4, 32], "order": [0, 2, 1, 3]}
JOINED = {"line": 1, "before": [8, 4, 16, 32], "after": [8, 16, 128], "opened": [8, 4, 16, 32], "order": [0, 2, 1, 3]}
PICTURES = {"line": 1, "before": [8, 32, 32, 3], "after": [8, 3, 32, 32], "opened": [8, 32, 32, 3], "order": [0, 3, 1, 2]}
FOLDED = {"line": 1, "before": [8, 16, 128], "after": [32, 16, 32], "opened": [8, 16, 4, 32], "order": [0, 2, 1, 3]}


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        (HEADS, "q = self.q(x).view(B, h, T, C // h)", "q = self.q(x).view(B, T, h, C // h).transpose(1, 2)"),
        (HEADS, "q = self.q(x).view((B, h, -1, d))", "q = self.q(x).view(B, -1, h, d).transpose(1, 2)"),
        (JOINED, "return self.out(y.view(B, T, -1))", "return self.out(y.transpose(1, 2).reshape(B, T, -1))"),
        (PICTURES, "x = x.reshape(len(x), 3, 32, 32)", "x = x.permute(0, 3, 1, 2).contiguous()"),
    ],
)
def test_axes_are_swapped_where_they_lie(place, before, after):
    assert (
        edited("swap-axes", f"{before}  # here\n" if "return" not in before else f"def f():\n    {before}  # here\n", places=[place])
        .strip()
        .endswith(after)
    )


def test_every_line_of_the_file_is_edited():
    script = "q = a.view(B, h, T, d)  # here\nk = b.view(B, h, T, d)\n"
    after = edited("swap-axes", script, places=[HEADS, {**HEADS, "line": 2}])
    assert after == "q = a.view(B, T, h, d).transpose(1, 2)\nk = b.view(B, T, h, d).transpose(1, 2)\n"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (HEADS, "q, k = a.view(B, h, T, d), b.view(B, h, T, d)"),
        (HEADS, "q = a.view(*shape)"),
        (HEADS, "q = a.view(shape)"),
        (HEADS, "q = a.view((B, *rest, T, d))"),
        (HEADS, "q = torch.reshape(a, (B, h, T, d))"),
        (HEADS, "q = a.view_as(b)"),
        (FOLDED, "q = a.view(B * h, T, d)"),
    ],
)
def test_what_is_not_written_size_by_size_is_left(place, line):
    assert refused("swap-axes", f"import torch\n{line}  # here\n", places=[place])


@pytest.mark.parametrize(
    ("operation", "side", "before", "after"),
    [
        ("sub", 1, "advantage = returns - value  # here\n", "advantage = returns - value.squeeze(-1)\n"),
        (
            "mul", 1,
            "loss = -(dist.log_prob(acts) * advantage.detach()).mean()  # here\n",
            "loss = -(dist.log_prob(acts) * advantage.detach().squeeze(-1)).mean()\n",
        ),
        ("mul", 0, "loss = (w + v) * x  # here\n", "loss = (w + v).squeeze(-1) * x\n"),
    ],
)  # fmt: skip
def test_a_column_that_meets_a_row_is_dropped(operation: str, side: int, before: str, after: str) -> None:
    becomes("drop-column", before, after, operation=operation, side=side)


def test_one_of_two_like_operations_is_not_guessed() -> None:
    refused("drop-column", "loss = a * b * c  # here\n", operation="mul", side=1)
