"""Tells of seeds that are set for the global generators, and of states that they are given."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trainlint.record.hooks.replacing import Replace
from trainlint.record.recorder import Recorder

__all__ = ["hook_seeds"]

#: Calls that seed a generator, and calls that give it a state: where they are found, their name, and whose generator it is.
_SEED = ((torch, "manual_seed", "torch"), (torch.random, "manual_seed", "torch"), (np.random, "seed", "numpy"), (random, "seed", "random"))
_STATE = (
    (torch, "set_rng_state", "torch"), (torch.random, "set_rng_state", "torch"), (torch, "seed", "torch"),
    (np.random, "set_state", "numpy"), (random, "setstate", "random"),
)  # fmt: skip


def hook_seeds(recorder: Recorder, replace: Replace) -> None:
    """Note each seed with the lines that led to it, and each state, but for those that recording itself puts back."""
    for owner, name, kind in _SEED:
        replace(owner, name, _seeding(recorder, kind, getattr(owner, name)))
    for owner, name, kind in _STATE:
        replace(owner, name, _putting_back(recorder, kind, getattr(owner, name)))


def _seeding(recorder: Recorder, kind: str, seed: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(seed)
    def seeded(*args: Any, **kwargs: Any) -> Any:
        if recorder.on and not _ours():
            recorder.seeded(kind, next(iter((*args, *kwargs.values())), None))
        return seed(*args, **kwargs)

    return seeded


def _putting_back(recorder: Recorder, kind: str, put: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(put)
    def given(*args: Any, **kwargs: Any) -> Any:
        if recorder.on and not _ours():
            recorder.recording.seeds.put_back(kind)
        return put(*args, **kwargs)

    return given


def _ours() -> bool:
    """Whether trainlint itself called."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("trainlint.")
