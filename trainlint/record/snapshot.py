"""Values of tensors, kept and put back bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.parameters import parameters_of

__all__ = ["Snapshot", "put", "state_tensors"]


def state_tensors(models: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters and buffers of some modules, each once."""
    found = {id(t): t for m in models for t in (*parameters_of(m), *m.buffers())}
    return list(found.values())


def put(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy a value into each live tensor, bit for bit, those of one device and type in one call."""
    groups: dict[tuple[Any, ...], tuple[list[Tensor], list[Tensor]]] = {}
    with torch.no_grad():
        for tensor, value in pairs:
            if tensor.is_sparse or value.is_sparse:
                tensor.data = value.clone()
                continue
            into, values = groups.setdefault((tensor.device, tensor.dtype, value.device, value.dtype), ([], []))
            into.append(tensor.detach())
            values.append(value)
        for into, values in groups.values():
            torch._foreach_copy_(into, values)


class Snapshot:
    """Values of live tensors, kept in buffers of its own and put back bit for bit."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = [t for t in tensors if not torch.nn.parameter.is_lazy(t)]
        with torch.no_grad():
            self._values = [t.detach().clone() for t in self._tensors]

    def restore(self) -> None:
        """Put the values back."""
        put(zip(self._tensors, self._values, strict=True))
