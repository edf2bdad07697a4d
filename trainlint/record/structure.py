"""Batches of any structure: finds the tensors in them and puts others in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["batch_size", "map_tensors", "tensor_leaves"]


def tensor_leaves(value: Any, path: str = "", *, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield ``(path, tensor)`` for each tensor in tuples, mappings, dataclasses and plain objects, in a stable order.

    Paths read like code: ``[0]``, ``['input_ids']``, ``.x``. Lists of plain numbers are not tensors and are left out.
    """
    if isinstance(value, Tensor):
        yield path, value
    elif depth > 6 or value is None or isinstance(value, str | bytes | int | float | bool | torch.nn.Module):
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensor_leaves(item, f"{path}[{key!r}]", depth=depth + 1)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, item in zip(value._fields, value, strict=True):
            yield from tensor_leaves(item, f"{path}.{name}", depth=depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value[:64]):
            yield from tensor_leaves(item, f"{path}[{index}]", depth=depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for entry in dataclasses.fields(value):
            yield from tensor_leaves(getattr(value, entry.name, None), f"{path}.{entry.name}", depth=depth + 1)
    elif (attributes := _attributes(value)) is not None:
        for name, item in attributes.items():
            yield from tensor_leaves(item, f"{path}.{name}" if not name.startswith("[") else path + name, depth=depth + 1)


def _attributes(value: Any) -> dict[str, Any] | None:
    """Tensors held by an object that is no container: its own attributes, or the store of a graph batch."""
    if hasattr(value, "to_dict") and hasattr(value, "num_nodes"):
        return dict(value.to_dict())
    if hasattr(value, "data") and isinstance(value.data, Mapping):
        return {f"[{k!r}]": v for k, v in value.data.items()}
    if type(value).__module__ in ("builtins", "numpy"):
        return None
    found = getattr(value, "__dict__", None)
    return {k: v for k, v in found.items() if isinstance(v, Tensor | Mapping | list | tuple)} if isinstance(found, dict) else None


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Copy of nested tuples, lists, dicts and slices with every tensor changed; other values are passed through."""
    if isinstance(value, Tensor):
        return change(value)
    kind = type(value)
    if kind is tuple:
        return tuple([map_tensors(v, change) for v in value])
    if kind is list:
        return [map_tensors(v, change) for v in value]
    if kind is dict:
        return {k: map_tensors(v, change) for k, v in value.items()}
    if kind is slice:
        return slice(*(map_tensors(v, change) for v in (value.start, value.stop, value.step)))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind(*(map_tensors(v, change) for v in value))
    if isinstance(value, tuple) and hasattr(value, "n_fields"):  # what max(dim=...) and sort() return
        mapped = tuple([map_tensors(v, change) for v in value])
        return kind(mapped) if all(isinstance(v, Tensor) for v in mapped) else mapped
    return value


def batch_size(leaves: Mapping[str, Tensor]) -> int:
    """The most common first axis of the tensors; 0 when there is none.

    Of samples joined end to end, as graphs are, the number of samples: a tensor says for each row which one it belongs to.
    """
    sizes = [t.shape[0] for t in leaves.values() if t.dim() > 0]
    joined = [count for t in leaves.values() if (count := _samples_joined(t)) in sizes]
    return joined[0] if joined else max(set(sizes), key=sizes.count) if sizes else 0


def _samples_joined(owner: Tensor) -> int:
    """The number of samples when a tensor numbers the sample that each row belongs to: 0, 0, 1, 1, 1, 2; else 0."""
    if owner.dim() != 1 or owner.numel() < 2 or owner.dtype is not torch.int64 or int(owner[0]):
        return 0
    steps = owner.diff()
    return int(owner[-1]) + 1 if bool(((steps == 0) | (steps == 1)).all()) and bool((steps == 0).any()) else 0
