"""The random generators of torch, NumPy and Python: what state they are in, left as they were found, seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["random_kept", "random_state", "randomness_kept", "restore_random", "seed_all", "seed_torch"]


def random_state() -> Any:
    """State of the generators that an operation may draw from."""
    accelerated = {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        accelerated["cuda"] = torch.cuda.get_rng_state_all()
    return torch.get_rng_state(), accelerated


def restore_random(state: Any) -> None:
    """Put generators back to a state of :func:`random_state`."""
    cpu, accelerated = state
    torch.set_rng_state(cpu)
    if "cuda" in accelerated:
        torch.cuda.set_rng_state_all(accelerated["cuda"])


@contextmanager
def random_kept() -> Iterator[None]:
    """Leave torch's generators as they were found."""
    state = random_state()
    try:
        yield
    finally:
        restore_random(state)


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Leave the generators of torch, NumPy and Python as they were found."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with random_kept():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def seed_torch(seed: int) -> None:
    """As ``torch.manual_seed``, which also writes down the whole stack for each kind of device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def seed_all(seed: int) -> None:
    """Seed the generators of torch, NumPy and Python, as a worker process does its own."""
    seed_torch(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
