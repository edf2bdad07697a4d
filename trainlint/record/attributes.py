"""Keeps the attributes of objects: a module's modes, buffers and hooks, and plain ones such as counters, lists of losses and metric sums."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["attributes_kept"]


@contextmanager
def attributes_kept(objects: Iterable[Any]) -> Iterator[None]:
    """Leave the attributes of some objects, and what their tensors, lists, dicts and sets hold, as they were found.

    Other objects that they hold are shared: only the reference to them is put back.
    """
    kept = [(made, _Kept(made)) for made in objects if hasattr(made, "__dict__")]
    try:
        yield
    finally:
        for made, before in kept:
            before.restore(made)


class _Kept:
    """The attributes of one object."""

    def __init__(self, made: Any) -> None:
        self.values = dict(vars(made))
        self.tensors = [(t, t._version, t.detach().clone()) for t in self.values.values() if _readable(t)]
        self.containers = [(c, c.copy()) for c in self.values.values() if type(c) in (list, dict, OrderedDict, set, deque)]

    def restore(self, made: Any) -> None:
        attributes = vars(made)
        attributes.clear()
        attributes.update(self.values)
        for container, content in self.containers:
            container.clear()
            container.extend(content) if isinstance(container, list | deque) else container.update(content)
        with torch.no_grad():
            for tensor, version, content in self.tensors:
                if tensor._version != version:  # an unchanged tensor may be part of a graph of the user's
                    tensor.detach().copy_(content)


def _readable(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_inference() and not value.is_meta
