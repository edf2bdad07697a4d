"""A whole training run as it was watched, and what each of several processes saw of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = ["Fingerprint", "RankFacts", "Ranks", "WatchedRun"]


@dataclass(frozen=True, kw_only=True)
class WatchedRun(Measurement):
    """The run in numbers, up to now."""

    name: ClassVar[str] = "watched_run"
    steps: int = 0
    """Optimizer steps of the optimizer that stepped first."""
    epochs: int = 0
    """Training passes that came to their end."""
    seconds: float = 0.0
    step_seconds: float | None = None
    """Median time from one step to the next."""
    data_share: float | None = None
    """Share of the time between steps that the loop waited for batches."""
    memory: tuple[tuple[int, int], ...] = ()
    """(steps done, bytes held) at the end of each training pass, or at even distances in a loop without a loader."""
    memory_of: str = "process"
    """``process`` (resident size) or ``cuda`` (bytes allocated by torch)."""
    passes: bool = True
    """Whether ``memory`` was read at ends of passes."""
    loop: Location | None = None
    """The training loop."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What tells one process's model from another's at one optimizer step."""

    step: int
    """Counted from 0."""
    weights: tuple[float, ...] = ()
    """2-norms of some parameters before the step, the same ones in every process."""
    gradients: tuple[float, ...] = ()
    """2-norms of their gradients, NaN where there is none."""
    lr: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RankFacts:
    """What one process saw."""

    rank: int
    steps: int = 0
    joined: bool = False
    """A process group was there when it took its first step."""
    shapes: str = ""
    """Digest of the optimizer's parameter shapes: equal in all processes unless the model is sharded."""
    sharded: bool = False
    fingerprints: tuple[Fingerprint, ...] = ()
    inputs: tuple[str, ...] = ()
    """Digests of the model's inputs at its first training forwards."""
    batches: tuple[int, ...] = ()
    """Batches of each finished training pass."""
    running: int = 0
    """Batches of the training pass that was going on at the end."""
    shuffles: bool = False
    """Its training sampler is a DistributedSampler that shuffles."""
    sampler_epochs: tuple[int, ...] = ()
    """That sampler's epoch at each training pass."""
    status: str = "running"
    """``running``, ``ended``, ``crashed``, ``interrupted``, ``stopped``."""
    loop: Location | None = None
    """The training loop."""
    optimizer: Location | None = None
    """Where the optimizer was built."""
    loader: Location | None = None
    """Where the training loader was built."""


@dataclass(frozen=True, kw_only=True)
class Ranks(Measurement):
    """All processes of a distributed run, side by side."""

    name: ClassVar[str] = "ranks"
    world: int
    """Processes that were started."""
    ranks: tuple[RankFacts, ...] = ()
    """In the order of their rank; those that left no word are missing."""
