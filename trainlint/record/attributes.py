"""Keeps the plain attributes of objects: counters, lists of losses, metric sums and other tensors that are not buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["attributes_kept"]

#: What every module has; parameters, buffers, modes and hooks are put back by those who know them.
_OF_MODULES = frozenset(vars(nn.Module()))


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
        skipped = _OF_MODULES if isinstance(made, nn.Module) else frozenset()
        self.skipped = skipped
        self.values = {name: value for name, value in vars(made).items() if name not in skipped}
        self.tensors = [(t, t._version, t.detach().clone()) for t in self.values.values() if _readable(t)]
        self.containers = [(c, c.copy()) for c in self.values.values() if type(c) in (list, dict, set, deque)]

    def restore(self, made: Any) -> None:
        attributes = vars(made)
        for name in [n for n in attributes if n not in self.values and n not in self.skipped]:
            del attributes[name]
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
