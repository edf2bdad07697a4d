"""Memories that hold one buffer again and again, and those that hold what they should."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probes.recorded import measured, record
from trainlint.measurements import SharedBuffer
from trainlint.probes.data.batches import measure_batches


class Walk:
    """A walk on a line; what it hands out is its own buffer, a tensor, or a copy."""

    def __init__(self, hand_out: str) -> None:
        self.hand_out, self.place = hand_out, 0.0
        self.seen: Any = torch.zeros(3) if hand_out == "tensor" else np.zeros(3, dtype=np.float32)

    def look(self) -> Any:
        self.seen[0], self.seen[1] = self.place, self.place**2
        if self.hand_out == "copy":
            return self.seen.copy()
        return self.seen  # here

    def step(self) -> Any:
        self.place += 0 if self.hand_out == "still" else random.uniform(-1, 1)
        return self.look()


def shared(hand_out: str, stored: Callable[..., Any], states: Callable[[list[Any]], Tensor]) -> SharedBuffer | None:
    """What is measured of a loop that learns from drawn steps of its memory."""
    walk, memory, model = Walk(hand_out), deque[Any](maxlen=200), nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        seen = walk.look()
        for number in range(80):
            following = walk.step()
            memory.append(stored(seen, number % 3, random.random(), following))
            seen = following
            if len(memory) < 20:
                continue
            drawn = random.sample(memory, 16)
            optimizer.zero_grad()
            F.mse_loss(model(states(drawn)), torch.randn(16, 1)).backward()
            optimizer.step()

    found: SharedBuffer | None = measured(measure_batches, record(run)).shared
    return found


def plain(drawn: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack([step[0] for step in drawn]))


@pytest.mark.parametrize(
    ("hand_out", "stored", "states"),
    [
        ("array", lambda *step: step, plain),
        ("array", lambda *step: dict(enumerate(step)), plain),
        ("tensor", lambda *step: list(step), lambda drawn: torch.stack([step[0] for step in drawn])),
    ],
)
def test_a_buffer_that_is_stored_again_and_again_is_found(hand_out: str, stored: Callable[..., Any], states: Callable[..., Tensor]) -> None:
    found = shared(hand_out, stored, states)
    assert found is not None
    assert found.stored >= 16
    assert (found.attribute, found.array) == ("seen", hand_out == "array")
    assert found.where is not None
    assert found.where.line == Walk.look.__code__.co_firstlineno + 4


@pytest.mark.parametrize("hand_out", ["copy", "still"])
def test_copies_and_states_that_stay_are_left_alone(hand_out: str) -> None:
    assert shared(hand_out, lambda *step: step, plain) is None


def test_one_sample_that_a_loop_repeats_is_left_alone() -> None:
    assert shared("copy", lambda *step: step, lambda drawn: torch.from_numpy(drawn[0][0]).expand(16, -1)) is None
