"""The tape: one real training step as the torch functions it called, which can be called again.

It is written above autograd, by a ``TorchFunctionMode``: an operation is what the user's code called (``F.cross_entropy``,
``Tensor.detach``), with gradients left to torch when it is called again. Parameters and buffers are the live ones, so a replay
sees the weights as they are now; batch tensors and other outside values are slots that can be filled with others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.structure import map_tensors

__all__ = ["Cut", "Operation", "Ref", "State", "Tape", "random_kept", "without_regularisation"]


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the tensor in a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class State:
    """The thread's modes under which an operation ran."""

    grad: bool
    autocast: tuple[tuple[str, torch.dtype], ...] = ()
    """Device types with autocast on, and their type."""
    off_at: Place | None = None
    """Where gradients were switched off."""

    @classmethod
    def now(cls, devices: Sequence[str], off_at: Place | None = None) -> State:
        """The modes of the current thread."""
        on = tuple((d, torch.get_autocast_dtype(d)) for d in devices if torch.is_autocast_enabled(d))
        grad = torch.is_grad_enabled()
        return cls(grad, on, None if grad else off_at)

    def enter(self, devices: Sequence[str]) -> None:
        """Switch the current thread to these modes."""
        torch._C._set_grad_enabled(self.grad)
        wanted = dict(self.autocast)
        for device in devices:
            torch.set_autocast_enabled(device, device in wanted)
            if device in wanted:
                torch.set_autocast_dtype(device, wanted[device])


@dataclass(slots=True)
class Operation:
    """One call."""

    name: str
    """As the code calls it, without dots: ``conv2d``, ``cross_entropy``, ``__getitem__``, ``T``."""
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    mutates: int | None
    """Slot of the tensor that the call changes in place and that is known under a new slot afterwards, when the call returns nothing."""
    state: State
    place: Place | None
    module: nn.Module | None
    """Innermost module whose forward made the call."""
    random: Any = None
    """Random-generator state just before, for calls that draw."""
    inplace: bool = False

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name, as recorded (tensors are :class:`Ref`)."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


@dataclass(frozen=True, slots=True)
class Cut:
    """A call that took gradient-carrying tensors and gave something without."""

    kind: str
    place: Place | None
    module: nn.Module | None
    leaves: frozenset[int]
    """ids of the trainable leaf tensors upstream."""


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

    def __post_init__(self) -> None:
        self.producers = {slot: i for i, op in enumerate(self.operations) for slot in self._made(op)}

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
        last_use = self._last_uses(keep)
        modes = State.now(self.devices)
        state: State | None = None
        try:
            for position, recorded in enumerate(self.operations):
                op = change(recorded) if change else recorded
                if op.state is not state:
                    state = op.state
                    (state if grad else State(False, state.autocast)).enter(self.devices)
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
        return {slot: values[slot] for slot in (self.loss, *keep) if slot in values}

    def _last_uses(self, keep: Sequence[int]) -> dict[int, list[int]]:
        last = {slot: i for i, op in enumerate(self.operations) for slot in (*op.inputs, *self._made(op))}
        uses: dict[int, list[int]] = {}
        for slot, position in last.items():
            if slot != self.loss and slot not in keep:
                uses.setdefault(position, []).append(slot)
        return uses

    def upstream(self, slot: int) -> Iterator[int]:
        """Positions of the operations that lead to a slot, nearest first."""
        seen: set[int] = set()
        queue = [slot]
        while queue:
            position = self.producers.get(queue.pop(0))
            if position is not None and position not in seen:
                seen.add(position)
                yield position
                queue.extend(self.operations[position].inputs)

    def consumers(self, slot: int) -> list[int]:
        """Positions of the operations that take a slot."""
        return [i for i, op in enumerate(self.operations) if slot in op.inputs]


def fill_refs(value: Any, values: Mapping[int, Tensor]) -> Any:
    """Recorded arguments with the tensors put back in."""
    kind = type(value)
    if kind is Ref:
        return values[value.slot]
    if kind is tuple:
        return tuple([fill_refs(v, values) for v in value])
    if kind is list:
        return [fill_refs(v, values) for v in value]
    if kind is dict:
        return {k: fill_refs(v, values) for k, v in value.items()}
    if kind is slice:
        return slice(fill_refs(value.start, values), fill_refs(value.stop, values), fill_refs(value.step, values))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind(*(fill_refs(v, values) for v in value))
    return value


def tensors_in(result: Any) -> Iterator[Tensor]:
    """The tensors of a result, in order."""
    if isinstance(result, Tensor):
        yield result
        return
    found: list[Tensor] = []
    map_tensors(result, found.append)
    yield from found


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


#: Position of the ``training`` (or ``train``) flag of functions that drop something, by name.
_TRAINING_FLAG = {
    "dropout": 2, "alpha_dropout": 2, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "feature_alpha_dropout": 2, "native_dropout": 2,
    "dropout_": 2,
}  # fmt: skip


def without_regularisation(op: Operation) -> Operation:
    """The same operation with dropout, stochastic depth and attention dropout switched off."""
    name = op.name
    if name in _TRAINING_FLAG:
        at = _TRAINING_FLAG[name]
        if len(op.args) > at:
            return _with(op, args=(*op.args[:at], False, *op.args[at + 1 :]))
        flag = "train" if name == "native_dropout" else "training"
        return _with(op, kwargs={**op.kwargs, flag: False})
    if name == "scaled_dot_product_attention":
        args = (*op.args[:4], 0.0, *op.args[5:]) if len(op.args) > 4 else op.args
        return _with(op, args=args, kwargs={**op.kwargs, **({"dropout_p": 0.0} if len(op.args) <= 4 else {})})
    if name == "multi_head_attention_forward":
        return _with(op, args=tuple(0.0 if i == 10 else a for i, a in enumerate(op.args)), kwargs=op.kwargs)
    if name == "bernoulli_" and isinstance(p := op.argument(1, "p", 0.5), float):
        # The mask of stochastic depth is later divided by p, so a constant p keeps every branch at full strength.
        return _with(op, args=op.args[:1], kwargs={"value": p}, call=Tensor.fill_)
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        # The dropout between layers is the one float among the arguments.
        return _with(op, args=tuple(0.0 if type(a) is float else a for a in op.args))
    return op


def _with(op: Operation, **changes: Any) -> Operation:
    new = Operation(**{k: getattr(op, k) for k in Operation.__slots__})
    for key, value in changes.items():
        setattr(new, key, value)
    return new
