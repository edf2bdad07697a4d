"""Loss, accuracy and predictions of a model on a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainlint.errors import InputError

__all__ = ["Evaluation", "evaluate", "forward", "split_batch", "to_device"]


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a loader."""

    loss: float
    """Mean over samples."""
    accuracy: float | None
    """Share of right labels; None where the targets are no class labels."""
    outputs: Tensor
    """Logits (N, C), or whatever the model gives, on the CPU, in the loader's order."""
    targets: Tensor
    """(N,) class labels, or as the loader gives them."""

    def recall(self) -> tuple[float, ...]:
        """Share of right labels for each class; NaN for a class without samples. Class labels only."""
        right = self.outputs.argmax(1) == self.targets
        return tuple(float(right[self.targets == c].float().mean()) for c in range(self.outputs.shape[1]))


def split_batch(batch: Any) -> tuple[Any, Tensor]:
    """Inputs and target of a batch ``(inputs, target)``. Raises InputError for another kind of batch."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[0], batch[1]
    msg = (
        f"the recipe trains on batches (inputs, target tensor); the loader gives {_describe(batch)}: wrap the dataset or pass a collate_fn"
    )
    raise InputError(msg)


def _describe(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with {', '.join(map(str, batch))}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {', '.join(type(part).__name__ for part in batch)}"
    return f"a {type(batch).__name__}"


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in nested lists, tuples and mappings, moved."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_device(v, device) for v in value]
    return value


def forward(model: nn.Module, inputs: Any) -> Tensor:
    """The model's output; a mapping goes in as keywords, a list as positional arguments."""
    if isinstance(inputs, Mapping):
        output = model(**inputs)
    elif isinstance(inputs, (list, tuple)):
        output = model(*inputs)
    else:
        output = model(inputs)
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor):
        msg = f"the recipe needs a model that returns a tensor; this one returns a {type(output).__name__}"
        raise InputError(msg)
    return output


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Evaluate in eval mode; the model's mode is put back afterwards.

    Args:
        model: Anything that maps a batch's inputs to a tensor.
        loader: Batches ``(inputs, target)``.
        loss_fn: ``loss_fn(output, target) -> scalar mean``; cross entropy without it, which needs class labels.
        device: Where to send batches; where the model is by default.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    outputs, targets, total = [], [], 0.0
    try:
        for batch in loader:
            inputs, target = split_batch(batch)
            output = forward(model, to_device(inputs, where)).float()
            loss = (loss_fn or F.cross_entropy)(output, target.to(where))
            total += float(loss) * len(target)
            outputs.append(output.cpu())
            targets.append(target.cpu())
    finally:
        for module, training in modes:
            module.training = training
    if not targets:
        msg = "the validation loader gives no batch"
        raise InputError(msg)
    output, target = torch.cat(outputs), torch.cat(targets)
    labels = loss_fn is None or (not target.is_floating_point() and target.dim() == 1 and output.dim() == 2)
    accuracy = float((output.argmax(1) == target).float().mean()) if labels else None
    return Evaluation(total / len(target), accuracy, output, target)
