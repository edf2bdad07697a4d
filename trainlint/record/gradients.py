"""Facts about gradients and the graph that gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["Graph", "has_gradient", "leave_mark", "norm", "size_of_gradients", "walk"]

#: Key of our marks in the metadata of a graph's nodes.
_MARKS = "trainlint calls"


class Graph(NamedTuple):
    """What was met on the way back through the graph of a loss."""

    leaves: frozenset[int]
    """ids of the leaf tensors that get gradients."""
    nodes: int
    marks: frozenset[int]
    """Numbers left by ``leave_mark``."""


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


def size_of_gradients(optimizer: Optimizer, *, by_norm: bool) -> float:
    """Norm of all gradients of an optimizer's parameters together, or else the largest of their entries."""
    gradients = [p.grad.detach() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if by_norm:
        return math.sqrt(sum(norm(g) ** 2 for g in gradients))
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    return max((float(g.abs().max()) for g in dense if g.numel()), default=0.0)


def leave_mark(tensors: Iterable[Tensor], number: int) -> bool:
    """Leave a number in the graphs of some tensors, which keeps none of them alive; whether any took it."""
    left = False
    for tensor in tensors:
        node: Any = tensor.grad_fn
        if node is not None:
            with suppress(Exception):  # graphs of subclasses and transforms need not take marks
                node.metadata.setdefault(_MARKS, set()).add(number)
                left = True
    return left


def walk(loss: Tensor) -> Graph:
    """Read the graph of a loss."""
    leaves: set[int] = set()
    marks: set[int] = set()
    seen: set[Any] = set()
    queue = [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            leaves.add(id(variable))
        else:
            marks.update(getattr(node, "metadata", {}).get(_MARKS, ()))
        queue.extend(parent for parent, _ in node.next_functions)
    return Graph(frozenset(leaves), len(seen), frozenset(marks))
