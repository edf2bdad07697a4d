"""The loss that an output and a target suggest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from trainlint.errors import InputError

__all__ = ["infer_loss", "prediction"]


def prediction(output: Any) -> Any:
    """What a loss is computed from: ``logits`` or ``out`` (segmentation in torchvision) of an output that holds several things, else itself."""
    for key in ("logits", "out"):
        if isinstance(output, Mapping) and key in output:
            return output[key]
        if not isinstance(output, Mapping) and hasattr(output, key):
            return getattr(output, key)
    return output


def infer_loss(output: Any, target: Any) -> tuple[Callable[[Any, Any], Any], str]:
    """The loss that output and target suggest, with its name. Raises InputError when they suggest none."""
    output = prediction(output)
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        msg = f"no loss can be inferred from an output of type {type(output).__name__} and a target of type {type(target).__name__}: pass loss_fn= or step="
        raise InputError(msg)
    if not target.is_floating_point() and output.dim() == target.dim() + 1:
        return F.cross_entropy, "cross entropy"
    if target.is_floating_point() and target.shape == output.shape:
        if bool(((target == 0) | (target == 1)).all()):
            return F.binary_cross_entropy_with_logits, "binary cross entropy with logits"
        return F.mse_loss, "mean squared error"
    msg = (
        f"no loss can be inferred from an output of shape {tuple(output.shape)} and a target of shape {tuple(target.shape)}, "
        f"{str(target.dtype).removeprefix('torch.')}: pass loss_fn=(output, target) -> scalar, or step=(model, batch) -> scalar"
    )
    raise InputError(msg)
