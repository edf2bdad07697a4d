"""The state of the global random generators, to tell whether two passes began with the same one."""

from __future__ import annotations

import random
import sys

import torch

__all__ = ["generator_states"]


def generator_states() -> dict[str, int]:
    """A hash of the state of each global generator of the CPU, by the name of its library."""
    states = {"torch": hash(torch.get_rng_state().numpy().tobytes()), "random": hash(random.getstate())}
    if "numpy" in sys.modules:
        legacy = sys.modules["numpy"].random.get_state()
        states["numpy"] = hash((legacy[1].tobytes(), legacy[2]))
    return states
