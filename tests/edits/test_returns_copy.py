"""Buffers that are handed out as copies."""

import pytest

from .edited import edited, refused


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def look(self):\n    return self.seen  # here\n", "def look(self):\n    return self.seen.copy()\n"),
        (
            "def step(self, a):\n    return self.seen, r, True, {}  # here\n",
            "def step(self, a):\n    return self.seen.copy(), r, True, {}\n",
        ),
    ],
)
def test_a_copy_is_returned(before: str, after: str) -> None:
    assert edited("return-copy", before, attribute="seen", method="copy") == after


@pytest.mark.parametrize("before", ["return self.seen[:2]  # here\n", "return f(self.seen)  # here\n", "x = self.seen  # here\n"])
def test_what_is_worked_out_is_left(before: str) -> None:
    refused("return-copy", f"def look(self):\n    {before}", attribute="seen", method="copy")
