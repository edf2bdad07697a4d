"""One recorded call of torch, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.structure import map_tensors

__all__ = [
    "Cut",
    "Operation",
    "Ref",
    "State",
    "fill_refs",
    "tensors_in",
    "without_regularisation",
]


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
