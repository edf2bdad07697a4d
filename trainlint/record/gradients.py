"""Facts about gradients and the graph that gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["has_gradient", "norm", "reached_leaves"]


def has_gradient(parameter: Tensor) -> bool:
    """Whether a non-zero gradient is stored."""
    gradient = parameter.grad
    if gradient is None:
        return False
    return bool(gradient.detach().coalesce().values().any() if gradient.is_sparse else gradient.detach().any())


def norm(tensor: Tensor) -> float:
    """2-norm as a float; sparse tensors by their values."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return float(tensor.float().norm()) if tensor.numel() else 0.0


def reached_leaves(loss: Tensor) -> tuple[frozenset[int], int]:
    """Ids of the leaf tensors that a backward from ``loss`` gives gradients, read off the graph, and the number of its nodes."""
    found: set[int] = set()
    seen: set[Any] = set()
    queue = [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        queue.extend(parent for parent, _ in node.next_functions)
    return frozenset(found), len(seen)
