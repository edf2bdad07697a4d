"""Writes tapes: follows every torch function of the user's thread and cuts a tape at each backward()."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainlint.record.frames import Frames, Place
from trainlint.record.functions import CONVERSIONS, DERIVATIVE, LOSS_FUNCTIONS, NOT_RECORDED, RANDOM, READS
from trainlint.record.operation import Operation, Ref, State, tensors_in
from trainlint.record.parameters import owns_parameters
from trainlint.record.provenance import Provenance
from trainlint.record.random_state import random_state
from trainlint.record.shadows import UPDATES, ShadowWatch
from trainlint.record.structure import map_tensors
from trainlint.record.written import Written

__all__ = ["TapeWriter"]


#: A step with more operations than this is a generation or sampling loop; its tape is given up.
_MOST_OPERATIONS = 200_000
#: Calls of models, and bytes or operations, after which what was written without a gradient is a validation and no part of a step.
_IDLE_CALLS, _IDLE_BYTES, _IDLE_OPERATIONS = 2, 2**29, 50_000


class _Call(NamedTuple):
    """A call's arguments, written down before it ran."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[int]
    inplace: bool
    random: Any


class TapeWriter(Written, TorchFunctionMode):
    """A function mode that is entered once for the whole recording and writes only while ``active``."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.frames = frames
        self.active = False
        self.provenance = Provenance(frames)
        """What made the tensors that exist before the first backward()."""
        self.modules: list[nn.Module] = []
        """Stack of the modules whose forward is running."""
        self.devices = tuple(d for d in ("cpu", "cuda", "mps") if d == "cpu" or getattr(torch, d).is_available())
        self.off_at: list[Place | None] = []
        """Stack of the places where gradients were switched off."""
        self.shadows = ShadowWatch()
        self.on_loss: Callable[[str], None] = lambda name: None
        """Told of each call of a loss function outside a model's own forward."""
        self.casts = {}
        self._pid = os.getpid()
        self._clear()

    def _give_up(self) -> None:
        """Write no more of this step, and let go of what it made."""
        self._clear()
        self.overflow, self.active = True, False

    @property
    def idle(self) -> bool:
        """Whether much was written and none of it carries a gradient: models that are called in turn without one, as a validation does."""
        if not self.active or self._learns or self.calls < _IDLE_CALLS:
            return False
        return len(self._operations) > _IDLE_OPERATIONS or sum(self._memory.values()) > _IDLE_BYTES

    def start(self, batches: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Begin a step: forget what was written and name the tensors of the batches that it may use, by path."""
        self._clear()
        for source, batch in enumerate(batches):
            for path, tensor in batch.items():
                if id(tensor) not in self._slot_of:
                    self._new_slot(tensor, outside=True)
                self._batch[self._slot_of[id(tensor)]] = (source, path)
        self.active = True

    def stop(self) -> None:
        """Write no more until the next start."""
        self.active = False
        self._clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.shadows.tensors and args and (key := self.shadows.key(args[0])) is not None:
            called = getattr(func, "__name__", "")
            if (getattr(getattr(func, "__self__", None), "__name__", "") if called == "__get__" else called) in UPDATES:
                self.shadows.touched(key, self.frames.here())
        if getattr(func, "__name__", "") in LOSS_FUNCTIONS and not any(owns_parameters(m) for m in self.modules):
            self.on_loss(func.__name__)
        if not self.active or os.getpid() != self._pid:
            result = func(*args, **kwargs)
            if self.provenance.on and not self.modules:
                self.provenance.note(getattr(func, "__name__", ""), args, result)
            return result
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            attribute = getattr(getattr(func, "__self__", None), "__name__", "")
            if name == "__get__" and attribute not in ("T", "mT", "H", "mH", "data", "real", "imag"):
                return func(*args, **kwargs)
            name = attribute + ("=" if name == "__set__" else "")
        if name == "grad" and kwargs.get("create_graph"):
            return self.write(DERIVATIVE, func, args, kwargs)
        if name in NOT_RECORDED or name in ("grad=", "requires_grad="):
            return func(*args, **kwargs)
        return self.write(name, func, args, kwargs)

    def write(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call ``func`` and write the call down. A call that cannot be written down ends the tape, never the user's step."""
        try:
            before = self._before(name, args, kwargs)
        except Exception:
            self._give_up()
            return func(*args, **kwargs)
        self.active = False  # what it calls inside is not the user's
        try:
            result = func(*args, **kwargs)
        finally:
            self.active = True
        try:
            self._after(name, func, args, kwargs, result, before)
        except Exception:
            self._give_up()
        return result

    def _before(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """Write down the arguments as they are before the call changes any."""
        random = random_state() if name in RANDOM else None
        inputs: list[int] = []

        def take(tensor: Tensor) -> Ref:
            slot = self._slot_of.get(id(tensor))
            if slot is None:
                slot = self._new_slot(tensor, outside=True)
            inputs.append(slot)
            return Ref(slot)

        recorded_args, recorded_kwargs = map_tensors(args, take), map_tensors(kwargs, take)
        inplace = (
            name in ("__setitem__", "data=")
            or (name.endswith("_") and not name.endswith("__"))
            or name.startswith("__i")
            or "out" in kwargs
        )
        if inplace and inputs:
            self._keep_pristine(inputs[0])
        return _Call(recorded_args, recorded_kwargs, inputs, inplace, random)

    def _after(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, call: _Call) -> None:
        """Write down the results."""
        made = list(tensors_in(result))
        if not made and name not in ("__setitem__", "data="):
            if name in READS and call.inputs:
                self._reads.append((call.inputs[0], name, self.frames.here()))
            return
        if name in CONVERSIONS and len(made) == 1 and made[0] is args[0]:
            return  # nothing was converted
        if len(self._operations) >= _MOST_OPERATIONS:
            self._give_up()
            return
        outputs = tuple(self._new_slot(t) for t in made)
        mutates = None
        if not made and call.inputs:
            self._slot_of[id(args[0])] = mutates = len(self._alive)
            self._alive.append(args[0])
            self._shapes.append(tuple(args[0].shape))
            self._storages.append(self._storages[call.inputs[0]])
            self._requires.append(args[0].requires_grad)
        state = State.now(self.devices, self.off_at[-1] if self.off_at else None)
        if state != self._state:
            self._state = state
        if name in LOSS_FUNCTIONS:
            self._observed[len(self._operations)] = (map_tensors(args, Tensor.detach), map_tensors(kwargs, Tensor.detach))
        module = self.modules[-1] if self.modules else None
        self._operations.append(
            Operation(
                name, func, call.args, call.kwargs, tuple(call.inputs), outputs, mutates, self._state or state, self.frames.here(), module,
                call.random, call.inplace,
            )
        )  # fmt: skip
