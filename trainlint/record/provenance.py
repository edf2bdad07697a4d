"""Remembers which line of the user's code made a tensor, from the start of the script to its first backward()."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trainlint.record.frames import Frames, Place

__all__ = ["Making", "Provenance"]

#: Calls after which no more is noted: a script that makes its data sample by sample in torch.
_MOST_CALLS = 50_000
#: Parents kept of one call: those of a stack of samples are all alike.
_MOST_PARENTS = 4
#: Calls that only pick, arrange or move values, so that what made the values stands further back.
_ARRANGING = frozenset({
    "__getitem__", "chunk", "clone", "contiguous", "cpu", "cuda", "detach", "expand", "flatten", "index_select", "movedim", "narrow", "pad_sequence",
    "permute", "pin_memory", "requires_grad_", "reshape", "select", "split", "squeeze", "stack", "swapaxes", "t", "tensor_split", "transpose", "unbind", "unflatten",
    "unsqueeze", "view",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Making:
    """One call that made a tensor, with the calls that made what it was given."""

    name: str
    place: Place | None
    parents: tuple[Making, ...]

    def telling(self) -> Place | None:
        """The line that made the values, not one that only picked or arranged them; the earliest known when there is none."""
        node: Making = self
        while (node.name in _ARRANGING or node.place is None) and node.parents:
            node = node.parents[0]
        return node.place


class Provenance:
    """What made the live tensors."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.on = True
        self._made: dict[int, tuple[weakref.ref[Tensor], Making]] = {}
        self._calls = 0

    def of(self, tensor: Tensor) -> Making | None:
        """What made a tensor; None when that was not seen."""
        entry = self._made.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def sharing(self, tensor: Tensor) -> Iterator[tuple[Tensor, Making]]:
        """Tensors that still live and have their values in the same memory, with what made them; the earliest first."""
        memory = tensor.untyped_storage().data_ptr()
        for made, making in list(self._made.values()):
            other = made()
            if other is not None and other.layout is torch.strided and other.untyped_storage().data_ptr() == memory:
                yield other, making

    def note(self, name: str, args: tuple[Any, ...], result: Any, until: FrameType | None = None) -> None:
        """Note a call's result. Never raises: what cannot be noted is not."""
        self._calls += 1
        if self._calls > _MOST_CALLS:
            self.on = False
            return
        if name == "__setitem__" and args:
            result = args[0]
        made = [t for t in (result if isinstance(result, tuple | list) else (result,)) if isinstance(t, Tensor) and not t.requires_grad]
        if not made:
            return
        given = args[0] if args and isinstance(args[0], tuple | list) else args
        parents = tuple(o for a in given[:_MOST_PARENTS] if isinstance(a, Tensor) and (o := self.of(a)) is not None)
        making = Making(name, self.frames.here(until=until), parents)
        for tensor in made[:_MOST_PARENTS]:
            self._made[id(tensor)] = (weakref.ref(tensor), making)

    @contextmanager
    def watching(self, until: FrameType) -> Iterator[None]:
        """Note what is called in the context too; only lines of code called from below ``until`` are named."""
        kept, self.on, self._calls = self.on, True, 0
        try:
            with _Watch(self, until):
                yield
        finally:
            self.on = kept


class _Watch(TorchFunctionMode):
    def __init__(self, provenance: Provenance, until: FrameType) -> None:
        super().__init__()
        self._origins, self._until = provenance, until

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._origins.on:
            self._origins.note(getattr(func, "__name__", ""), args, result, self._until)
        return result
