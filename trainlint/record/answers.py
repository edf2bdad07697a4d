"""What models answered to batches of earlier passes, known again where a later step uses it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainlint.record.frames import Place
from trainlint.record.seen import Iteration

__all__ = ["Answers", "Reused"]

#: Answers that are remembered, and the numbers of each that it is known by.
_MOST, _NUMBERS = 256, 16


@dataclass(frozen=True, eq=False)
class Reused:
    """A step used what a model had answered to the batch with the same number in an earlier pass."""

    model: str
    place: Place | None
    """Where the model was called then."""
    answered: Iteration
    used: Iteration
    position: int
    """Number of the batch, in both passes."""


@dataclass
class Answers:
    """Answers without gradients, by their shape and first values: kept in a list, moved or detached they stay the same."""

    reused: list[Reused] = field(default_factory=list)
    _known: dict[tuple[object, ...], tuple[str, Place | None, Iteration, int]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there are answers to know again."""
        return bool(self._known)

    def keep(self, model: str, outputs: Iterable[Tensor], place: Place | None, iteration: Iteration | None) -> None:
        """A model was called without gradients between batches of a pass."""
        for tensor in outputs:
            if iteration is not None and len(self._known) < _MOST and (key := _key(tensor)) is not None:
                self._known.setdefault(key, (model, place, iteration, iteration.batches - 1))

    def used(self, given: Iterable[Tensor], iteration: Iteration | None) -> None:
        """A step between batches of a pass was made with these tensors from outside."""
        for tensor in given if iteration is not None else ():
            model, place, answered, position = self._known.get(_key(tensor) or (), ("", None, None, 0))
            if answered is not None and iteration is not None and answered is not iteration and position == iteration.batches - 1:
                self.reused.append(Reused(model, place, answered, iteration, position))


def _key(tensor: Tensor) -> tuple[object, ...] | None:
    """Shape and first values; None for what could be alike by chance."""
    if not tensor.is_floating_point() or tensor.dim() < 1 or tensor.layout != torch.strided or tensor.numel() < _NUMBERS:
        return None
    try:
        values = tensor.detach().reshape(-1)[:_NUMBERS].tolist()
    except (RuntimeError, NotImplementedError, TypeError):  # a tensor without values, as under torch.func
        return None
    return (tuple(tensor.shape), *values) if len(set(values)) > _NUMBERS // 2 else None
