"""The tape: one real training step as the torch functions it called, which can be called again.

It is written above autograd, by a ``TorchFunctionMode``: an operation is what the user's code called (``F.cross_entropy``,
``Tensor.detach``), with gradients left to torch when it is called again. Parameters and buffers are the live ones, so a replay
sees the weights as they are now; batch tensors and other outside values are slots that can be filled with others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.functions import DERIVATIVE
from trainlint.record.operation import Cut, Operation, State, fill_refs, tensors_in
from trainlint.record.random_state import restore_random

__all__ = ["Tape"]


@dataclass
class Tape:
    """The operations from batch to loss of one backward() call."""

    operations: list[Operation]
    loss: int
    """Slot of the tensor on which backward() was called."""
    outside: dict[int, Tensor]
    """Slots that no operation makes: parameters, buffers, batch tensors and constants, in order of first use."""
    batch: dict[str, int]
    """Paths in the loader's batch -> slot, for those that the loss depends on."""
    batch_source: int | None
    """Which of the batches named at the start it used."""
    shapes: dict[int, tuple[int, ...]]
    value: float = float("nan")
    place: Place | None = None
    """Where backward() was called."""
    scale: float = 1.0
    """Factor of the gradient scaler in ``value``."""
    observed: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    """Position of a loss call -> its arguments as they were."""
    devices: tuple[str, ...] = ("cpu",)
    pristine: dict[int, Tensor] = field(default_factory=dict)
    """Outside slots that the step changes in place, as they were before; each replay gets a copy."""
    cuts: tuple[Cut, ...] = ()
    producers: dict[int, int] = field(init=False)
    """Slot -> position of the operation that made it."""
    differentiates: bool = field(init=False)
    """The loss is made of derivatives, so that a replay needs the graph in any case."""

    def __post_init__(self) -> None:
        self.producers = {slot: i for i, op in enumerate(self.operations) for slot in self._made(op)}
        self.differentiates = any(op.name == DERIVATIVE for op in self.operations)

    @staticmethod
    def _made(op: Operation) -> tuple[int, ...]:
        return op.outputs if op.mutates is None else (*op.outputs, op.mutates)

    @property
    def parameters(self) -> dict[int, nn.Parameter]:
        """Slots that are parameters."""
        return {s: t for s, t in self.outside.items() if isinstance(t, nn.Parameter)}

    @property
    def leaves(self) -> dict[int, Tensor]:
        """Outside slots with gradients: parameters and other trainable leaf tensors."""
        return {s: t for s, t in self.outside.items() if t.requires_grad and t.is_leaf}

    @property
    def constants(self) -> dict[int, Tensor]:
        """Outside slots that are neither trainable nor part of the batch, parameters left out."""
        fed = set(self.batch.values())
        return {s: t for s, t in self.outside.items() if s not in fed and not isinstance(t, nn.Parameter) and not t.requires_grad}

    def signature(self) -> tuple[str, ...]:
        """Names of the operations: two steps of the same program have the same."""
        return tuple(op.name for op in self.operations)

    def outside_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors that come from outside: two steps on batches of one size have the same."""
        return tuple(tuple(tensor.shape) for tensor in self.outside.values())

    def replay(
        self,
        fill: Mapping[int, Tensor] | None = None,
        *,
        replace: Mapping[int, Tensor] | None = None,
        random_of: Tape | None = None,
        change: Callable[[Operation], Operation] | None = None,
        observe: Callable[[int, Operation, tuple[Tensor, ...]], None] | None = None,
        grad: bool = True,
        keep: Sequence[int] = (),
        until: int | None = None,
    ) -> dict[int, Tensor]:
        """Call the operations again and return the loss and the ``keep`` slots by slot.

        ``fill`` gives other tensors for outside slots, ``replace`` for made ones (they take the place of the result).
        ``random_of`` is the tape whose random draws are repeated (its operations must be the same); without it new numbers are
        drawn. ``change`` may return another operation to call instead (:func:`without_regularisation`). ``observe`` sees each
        operation's results. With ``grad=False`` nothing is recorded for backward. ``until`` stops after that position.

        Raises whatever torch raises, for instance on a batch of another shape.
        """
        values: dict[int, Tensor] = {**self.outside, **{s: t.clone() for s, t in self.pristine.items()}, **(fill or {})}
        if self.differentiates:  # what was differentiated by must be differentiable, whatever is put in its place
            values |= {
                s: values[s].detach().requires_grad_() for s, t in self.leaves.items() if values[s] is not t and t.is_floating_point()
            }
        graph = grad or self.differentiates
        last_use = self._last_uses(keep)
        modes = State.now(self.devices)
        state: State | None = None
        try:
            for position, recorded in enumerate(self.operations):
                op = change(recorded) if change else recorded
                if op.state is not state:
                    state = op.state
                    (state if graph else State(False, state.autocast)).enter(self.devices)
                if random_of is not None and (saved := random_of.operations[position].random) is not None:
                    restore_random(saved)
                result = op.call(*fill_refs(op.args, values), **fill_refs(op.kwargs, values))
                made = tuple(tensors_in(result))
                for slot, tensor in zip(op.outputs, made, strict=False):
                    values[slot] = tensor if replace is None or slot not in replace else replace[slot]
                if op.mutates is not None:
                    values[op.mutates] = values[op.inputs[0]]
                if observe:
                    observe(position, op, made or ((values[op.mutates],) if op.mutates is not None else ()))
                for slot in last_use.get(position, ()):
                    values.pop(slot, None)
                if until is not None and position >= until:
                    break
        finally:
            modes.enter(self.devices)
            torch.clear_autocast_cache()
        wanted = {slot: values[slot] for slot in (self.loss, *keep) if slot in values}
        return wanted if grad else {slot: tensor.detach() for slot, tensor in wanted.items()}

    def _last_uses(self, keep: Sequence[int]) -> dict[int, list[int]]:
        last = {slot: i for i, op in enumerate(self.operations) for slot in (*op.inputs, *self._made(op))}
        uses: dict[int, list[int]] = {}
        for slot, position in last.items():
            if slot != self.loss and slot not in keep:
                uses.setdefault(position, []).append(slot)
        return uses

    def upstream(self, slot: int, through: Callable[[Operation], Iterable[int]] | None = None, most: int | None = None) -> Iterator[int]:
        """Positions of the operations that lead to a slot, nearest first.

        Args:
            slot: Where to begin.
            through: The slots to go on from behind an operation; all of its inputs when None.
            most: Operations after which the way ends; None for no end.
        """
        seen: set[int] = set()
        queue = [slot]
        while queue and (most is None or len(seen) < most):
            position = self.producers.get(queue.pop(0))
            if position is not None and position not in seen:
                seen.add(position)
                yield position
                op = self.operations[position]
                queue.extend(op.inputs if through is None else through(op))

    def consumers(self, slot: int) -> list[int]:
        """Positions of the operations that take a slot."""
        return [i for i, op in enumerate(self.operations) if slot in op.inputs]
