"""Parameters of the user's modules, whose own ``parameters()`` may do anything: return a list, take no arguments, leave some out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import nn

__all__ = ["SHORT", "named_parameters_of", "owns_parameters", "parameters_of"]

#: Floating-point formats of 16 bits.
SHORT = frozenset({torch.float16, torch.bfloat16})


def named_parameters_of(module: nn.Module, *, recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
    """``(name, parameter)`` of what is registered in a module, as torch lists it."""
    return nn.Module.named_parameters(module, recurse=recurse)


def parameters_of(module: nn.Module, *, recurse: bool = True) -> list[nn.Parameter]:
    """What is registered in a module and, with ``recurse``, below it; then what a ``parameters()`` of its own adds."""
    found = [parameter for _, parameter in named_parameters_of(module, recurse=recurse)]
    if recurse and type(module).parameters is not nn.Module.parameters:
        known = {id(parameter) for parameter in found}
        with suppress(Exception):  # the user's code, which need not be ready for this
            found += [p for p in module.parameters() if isinstance(p, nn.Parameter) and id(p) not in known]
    return found


def owns_parameters(module: nn.Module) -> bool:
    """Whether a module, or one inside it, has parameters: a model rather than a criterion."""
    return next(named_parameters_of(module), None) is not None or bool(
        type(module).parameters is not nn.Module.parameters and parameters_of(module)
    )
