"""Other operations in the place of recorded ones: what a fix would change in the user's forward and loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.training.regularisers import Change
from trainlint.record.operation import Operation, State
from trainlint.record.tape import Tape

__all__ = ["calls", "connected", "evaluated", "loss_call", "removed", "trained", "with_arguments"]

_DROPOUT = frozenset({"dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"})
#: Operations that leave the graph although they could stay in it.
_DETACHING = frozenset({"detach", "detach_", "data"})
_BATCH_NORM_FLAG, _DROPOUT_FLAG = (5, "training"), (2, "training")


def loss_call(tape: Tape) -> tuple[Operation, dict[str, Any]]:
    """The one loss call and its arguments; raises when there is none or there are several."""
    found = main_loss_call(tape)
    if found is None:
        msg = "the loss is not one call of a loss function, so its arguments cannot be changed in a replay"
        raise CannotMeasureError(msg)
    return found[1], found[2]


def removed(target: Operation) -> Change:
    """Pass the first argument of one operation on as it is."""
    return calls(target, lambda first, *_, **__: first)


def calls(target: Operation, function: Callable[..., Any]) -> Change:
    """Call another function with the arguments of one operation."""
    return lambda op: replace(op, call=_named_input(function), mutates=None) if op is target else op


def _named_input(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the first argument by position even where the user's code names it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not args and "input" in kwargs:
            return function(kwargs.pop("input"), **kwargs)
        return function(*args, **kwargs)

    return call


def with_arguments(target: Operation, **arguments: Any) -> Change:
    """Give one operation other keyword arguments."""
    if len(target.args) > 2:
        msg = f"{target.name} was called with positional arguments that cannot be changed safely"
        raise CannotMeasureError(msg)
    return lambda op: replace(op, kwargs={**op.kwargs, **arguments}) if op is target else op


def _flagged(op: Operation, at: tuple[int, str], value: bool) -> Operation:
    position, name = at
    if len(op.args) > position:
        return replace(op, args=(*op.args[:position], value, *op.args[position + 1 :]))
    return replace(op, kwargs={**op.kwargs, name: value})


def trained(op: Operation) -> Operation:
    """Batch norm and dropout as in training mode."""
    if op.name == "batch_norm":
        return _flagged(op, _BATCH_NORM_FLAG, value=True)
    return _flagged(op, _DROPOUT_FLAG, value=True) if op.name in _DROPOUT else op


def evaluated(op: Operation) -> Operation:
    """Batch norm as in evaluation mode, by its running statistics where it has some."""
    has_statistics = op.name == "batch_norm" and op.argument(1, "running_mean") is not None
    return _flagged(op, _BATCH_NORM_FLAG, value=False) if has_statistics else op


def connected(op: Operation) -> Operation:
    """The same operation inside the graph: gradients on, nothing detached."""
    if not op.state.grad:
        op = replace(op, state=State(True, op.state.autocast))
    if op.name in _DETACHING:
        op = replace(op, call=lambda first, *_, **__: first.view_as(first))
    return op


def log_probabilities(given: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``nll_loss`` on raw scores, with the log-softmax that was missing."""
    return F.nll_loss(F.log_softmax(given, 1 if given.dim() > 1 else 0), target, *args, **kwargs)


def logarithm_first(given: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``nll_loss`` on probabilities, with the logarithm that was missing."""
    return F.nll_loss(given.clamp_min(1e-12).log(), target, *args, **kwargs)


def from_logits(given: Tensor, target: Tensor, weight: Tensor | None = None, **kwargs: Any) -> Tensor:
    """``binary_cross_entropy`` on raw scores."""
    kept = {k: v for k, v in kwargs.items() if k == "reduction"}
    return F.binary_cross_entropy_with_logits(given, target, weight=weight, **kept)
