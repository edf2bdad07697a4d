"""Layers that behave differently in training and in evaluation."""

from __future__ import annotations

from torch import nn

from trainlint.record.parameters import parameters_of

__all__ = ["depends_on_mode", "owner_parameters"]


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a layer of its own does something else in training mode than in eval mode."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.track_running_stats
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return (
        type(module).__name__ in ("DropPath", "StochasticDepth")
        and (getattr(module, "drop_prob", None) or getattr(module, "p", 0) or 0) > 0
    )


def owner_parameters(layer: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """The layer's own parameters, or for a layer without any those of the module that holds it."""
    own = parameters_of(layer)
    if own:
        return own
    for module in model.modules():
        if any(child is layer for child in module.children()):
            return parameters_of(module)
    return []
