"""Which layers learn: the head alone, all of them, or more and more from the head down."""

from __future__ import annotations

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainlint.recipe.settings import Recipe

__all__ = ["hold_frozen_statistics", "layers_from_head", "set_learning_layers"]


def layers_from_head(model: nn.Module) -> list[list[str]]:
    """Names of parameters by layer, the head first.

    timm's models say what their layers are. Of any other model each child is one, the last being the head.
    """
    matcher = getattr(model, "group_matcher", None)
    if callable(matcher):
        ordinals: dict[str, int] = group_parameters(model, matcher(coarse=True), reverse=True)
        trunk = [
            [name for name, ordinal in ordinals.items() if ordinal == wanted] for wanted in sorted(set(ordinals.values()), reverse=True)
        ]
        head = _classifier(model)
        rest = [[name for name in names if name not in head] for names in trunk]
        return [layer for layer in ([n for n in ordinals if n in head], *rest) if layer]
    children = [[f"{child}.{name}" for name, _ in module.named_parameters()] for child, module in model.named_children()]
    own = [name for name, _ in model.named_parameters(recurse=False)]
    return [layer for layer in (*reversed(children), own) if layer]


def _classifier(model: nn.Module) -> set[str]:
    prefixes = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    return {name for name, _ in model.named_parameters() if name.startswith(tuple(f"{p}." for p in prefixes))} if prefixes else set()


def set_learning_layers(model: nn.Module, recipe: Recipe, epoch: int) -> int:
    """Set ``requires_grad`` for this epoch of ``recipe.tune``; how many layers learn.

    ``all`` leaves the flags as they are. ``progressive`` begins with the head and reaches the input half-way through the run.
    """
    layers = layers_from_head(model)
    if recipe.tune == "all":
        return len(layers)
    share = 0.0 if recipe.tune == "head" else min(1.0, epoch / max(recipe.epochs / 2, 1))
    count = 1 + int((len(layers) - 1) * share)
    learning = {name for layer in layers[:count] for name in layer}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    return count


def hold_frozen_statistics(model: nn.Module) -> None:
    """Batch norms whose weights are frozen keep their statistics: call it after ``model.train()``."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()
