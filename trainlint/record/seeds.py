"""Where the global random generators were seeded while a script ran, whether that was taken back, and what training draws from them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import SupportsIndex

from trainlint.record.frames import Place
from trainlint.record.generators import generator_states

__all__ = ["Seeding", "Seeds"]

#: Steps between which draws are looked for; chains of calls to seeds that are kept.
_STEPS, _CHAINS = 3, 50


@dataclass(eq=False)
class Seeding:
    """A line that seeds a generator, as one chain of calls comes to it."""

    kind: str
    """``torch``, ``numpy`` or ``random``."""
    stack: list[Place]
    """The user's lines on the stack at its first call, the nearest first."""
    steps: int
    """Optimizer steps, and optimizers, before its first call."""
    optimizers: int
    values: list[int] = field(default_factory=list)
    """The seed of each call."""
    trained: bool = False
    """The next backward() found the generator neither put back nor seeded elsewhere."""


class Seeds:
    """All seeds of one recording."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, tuple[Place, ...]], Seeding] = {}
        self.backward: list[Place] = []
        """The user's lines on the stack of the first backward(), the nearest first."""
        self.drawn: set[str] = set()
        """Generators that were drawn from between a backward() and the next call of a model that it could train."""
        self._standing: dict[str, Seeding] = {}
        self._after: dict[str, int] | None = None

    def seeded(self, kind: str, value: object, stack: list[Place], steps: int, optimizers: int) -> None:
        """A generator was seeded; by something other than a number, as the clock, it is as good as put back."""
        self._after = None
        self._standing.pop(kind, None)
        if not isinstance(value, SupportsIndex) or not stack or len(self.seen) > _CHAINS:
            return
        seeding = self.seen.setdefault((kind, tuple(stack)), Seeding(kind, stack, steps, optimizers))
        seeding.values.append(operator.index(value))
        self._standing[kind] = seeding

    def put_back(self, kind: str) -> None:
        """A generator was given a state."""
        self._after = None
        self._standing.pop(kind, None)

    def backward_ended(self, number: int, stack: Callable[[], list[Place]]) -> None:
        """The backward() with this number, from 0, is over."""
        for seeding in self._standing.values():
            seeding.trained = True
        self._standing.clear()
        if not number:
            self.backward = stack()
        self._after = generator_states() if number < _STEPS else None

    def called(self, *, grad: bool) -> None:
        """A model is about to be called."""
        if grad and self._after is not None:
            self.drawn |= {kind for kind, state in generator_states().items() if state != self._after.get(kind)}
        self._after = None
