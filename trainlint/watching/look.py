"""One sampled step seen through the module hooks of torch: which models were called in which mode, and which units stayed silent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from trainlint.measurements import Activation
from trainlint.record.frames import Frames, Place
from trainlint.record.modes import depends_on_mode
from trainlint.record.parameters import owns_parameters, parameters_of

__all__ = ["Call", "Look", "Silence"]

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Threshold)
_SATURATING: dict[type[nn.Module], tuple[float, float]] = {nn.Tanh: (-0.99, 0.99), nn.Sigmoid: (0.01, 0.99)}
#: Sampled steps on all of which a unit must be zero to count as silent.
_STEPS = 3
#: What the two hooks themselves cost for each call of a module, in seconds.
_HOOKS = 4e-6
#: Layers with activations that are followed.
_MOST_LAYERS = 64


@dataclass
class Call:
    """A call of a model from outside any other."""

    module: nn.Module
    place: Place | None
    training: bool
    grad: bool
    inputs: tuple[Any, ...]
    off: list[nn.Module] = field(default_factory=list)
    """Layers in evaluation mode for which the mode matters."""
    mode_dependent: list[nn.Module] = field(default_factory=list)

    @property
    def off_are_frozen(self) -> bool:
        """Whether every layer in ``off`` belongs to a part that does not train."""
        return bool(self.off) and all(not p.requires_grad for m in self.off for p in _parameters_near(m, self.module))


class Silence:
    """Which units of activation layers were zero on each of the last sampled steps."""

    def __init__(self) -> None:
        self.layers: dict[nn.Module, list[tuple[Tensor, float, float]]] = {}

    def note(self, module: nn.Module, output: Any) -> None:
        """Take in what an activation layer gave."""
        known = self.layers.get(module)
        if known is None:
            if len(self.layers) >= _MOST_LAYERS or not isinstance(module, (*_RECTIFIERS, *_SATURATING)):
                return
            known = self.layers[module] = []
        if not isinstance(output, Tensor) or output.dim() < 2 or not output.is_floating_point() or not output.numel():
            return
        values = output.detach()
        axis = 1 if values.dim() in (2, 4, 5) else values.dim() - 1
        zero = values.movedim(axis, 0).flatten(1) == 0
        low, high = next((limits for kind, limits in _SATURATING.items() if isinstance(module, kind)), (0.0, 0.0))
        flat = float(((values < low) | (values > high)).float().mean()) if high else 0.0
        known.append((zero.all(dim=1), float(values.abs().max()), flat))
        del known[:-_STEPS]

    def activations(self, names: dict[int, str]) -> list[Activation]:
        """The layers that were seen often enough, in the order of their first call."""
        found = []
        for module, seen in self.layers.items():
            sizes = {len(silent) for silent, _, _ in seen}
            if len(seen) < _STEPS or len(sizes) != 1:
                continue
            silent = torch.stack([s for s, _, _ in seen]).all(dim=0) if isinstance(module, _RECTIFIERS) else torch.zeros(1)
            found.append(
                Activation(
                    module=names.get(id(module), ""), kind=type(module).__name__.lower(), units=sizes.pop(),
                    dead_units=float(silent.float().mean()), absolute_max=max(a for _, a, _ in seen), saturated=min(f for _, _, f in seen),
                )
            )  # fmt: skip
        return found


class Look:
    """Hooks on every module call while it lasts; ``whole`` also looks at what the layers give, else the first call ends it."""

    def __init__(self, frames: Frames, silence: Silence, *, whole: bool, stack: list[nn.Module] | None = None) -> None:
        self.frames = frames
        self.silence = silence
        self.whole = whole
        self.calls: list[Call] = []
        self.seconds = 0.0
        self._stack: list[nn.Module] = stack if stack is not None else []
        self._handles: list[RemovableHandle] = [register_module_forward_pre_hook(self._begun)]
        if whole:
            self._handles.append(register_module_forward_hook(self._ended))

    @property
    def on(self) -> bool:
        """Whether the hooks are still in place."""
        return bool(self._handles)

    def end(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._stack.clear()

    def _begun(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if torch._C._get_tracing_state() is not None:
            return
        self.seconds += _HOOKS
        if not self._stack and owns_parameters(module) and len(self.calls) < 16:
            began = time.perf_counter()
            layers = [m for m in module.modules() if depends_on_mode(m)]
            self.calls.append(
                Call(
                    module, self.frames.here(), module.training, torch.is_grad_enabled() and not torch.is_inference_mode_enabled(), args,
                    [m for m in layers if not m.training], layers,
                )
            )  # fmt: skip
            self.seconds += time.perf_counter() - began
            if not self.whole:
                self.end()
                return
        self._stack.append(module)

    def _ended(self, module: nn.Module, _: Any, output: Any) -> None:
        while self._stack and self._stack.pop() is not module:
            pass  # a call that raised has left its own entry behind
        if torch.is_grad_enabled() and module.training and isinstance(module, (*_RECTIFIERS, *_SATURATING)):
            began = time.perf_counter()
            self.silence.note(module, output)
            self.seconds += time.perf_counter() - began


def _parameters_near(layer: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """The layer's own parameters, or for a layer without any those of the module that holds it."""
    own = parameters_of(layer)
    if own:
        return own
    holder = next((m for m in model.modules() if any(child is layer for child in m.children())), None)
    return parameters_of(holder) if holder is not None else []
