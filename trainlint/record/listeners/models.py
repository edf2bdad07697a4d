"""Told of model calls: inputs, outputs, modes."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.record.frames import Place
from trainlint.record.gradients import leave_mark
from trainlint.record.listeners.books import guarded
from trainlint.record.listeners.loaders import LoaderListener
from trainlint.record.modes import depends_on_mode, owner_parameters
from trainlint.record.parameters import parameters_of
from trainlint.record.seen import Call, Rebuilt
from trainlint.record.structure import tensor_leaves

__all__ = ["ModelListener"]


class ModelListener(LoaderListener):
    """Which models are called on which batches, in which mode."""

    @guarded
    def call_begun(self) -> None:
        """A module with parameters is called from outside any other."""
        self.recording.seeds.called(grad=torch.is_grad_enabled())
        if not (self.steps_done or self.recording.backwards) and not self.recording.calls and not self._current and not self.writer.active:
            self.writer.start()
        elif not self.recording.optimizers and not self._current and self._taped < len(self.recording.backwards):
            self._start_tape()  # what updates the weights is no optimizer of torch's, so that no step is told
        elif self.writer.idle:
            self._start_tape()
        self.writer.calls += 1
        self._taped = len(self.recording.backwards)
        self._check_time()

    @guarded
    def built_in_forward(self, module: nn.Module, owner: nn.Module) -> None:
        """A module that a running forward built is called in it."""
        held = {id(p) for o in self.recording.optimizers for p in o.parameters} | {id(p) for p in parameters_of(owner)}
        own = [p for p in parameters_of(module) if p.requires_grad and not torch.nn.parameter.is_lazy(p) and id(p) not in held]
        if own and torch.is_grad_enabled():
            place = self.recording.places.get(id(module))
            seen = self.recording.rebuilt.setdefault(
                (type(module).__name__, place), Rebuilt(type(module).__name__, place, type(owner).__name__)
            )
            norms = {id(p) for m in module.modules() if "Norm" in type(m).__name__ for p in parameters_of(m, recurse=False)}
            seen.weights = sum(p.numel() for p in own if p.dim() > 1 and id(p) not in norms)
            seen.turns.add(len(self.recording.backwards))

    @guarded
    def call_ended(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, place: Place | None) -> None:
        """The call returned."""
        grad = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        layers = self._mode_layers.get(id(module))
        if layers is None:
            layers = self._mode_layers[id(module)] = [m for m in module.modules() if depends_on_mode(m)]
        off = [m for m in layers if not m.training]
        frozen = bool(off) and all(not p.requires_grad for m in off for p in owner_parameters(m, module))
        inputs = tuple(t for _, t in tensor_leaves((args, kwargs)))
        outputs = tuple(t for _, t in tensor_leaves(_plain(output)))
        call = Call(
            module, place, module.training, grad, self.current, tuple(dict.fromkeys(type(m).__name__ for m in off)), len(layers) - len(off),
            frozen, fed=any(t.grad_fn is not None for t in inputs), outputs=len(outputs), happening=self.note("forward", type(module).__name__, place, training=module.training, grad=grad),
            mode_place=self.recording.modes.get(id(module)), first_input=weakref.ref(inputs[0]) if inputs else None,
        )  # fmt: skip
        if len(self.recording.calls) < 2000:
            self.recording.calls.append(call)
        if self.current is not None:
            self.current.forwards += 1
            self.current.grad_forwards += grad
        validated = not grad and self.current is not None and self.current.forwards <= self.settings.val_batches
        if validated or (grad and not self.steps_done and all(c is call or c.module is not module for c in self.recording.calls)):
            call.inputs = tuple(t.detach() for t in inputs)
        if not grad:
            self.recording.answers.keep(type(module).__name__, outputs[:1], place, self.current)
        if grad:
            call.marked = leave_mark(outputs, call.happening)
            self.marks.forget(inputs)
            turn = (len(self.recording.backwards), *((self.current.number, self.current.batches) if self.current is not None else ()))
            for tensor in outputs[:1]:
                self.marks.add("outputs", tensor, place, turn)
            self._recent.append(call)
            if len(self._recent) > 64:
                del self._recent[0]
            self._pending_inputs += [(f"input {i}", _without_graph(t)) for i, t in enumerate(inputs)]
            del self._pending_inputs[:-16]


def _without_graph(tensor: Tensor) -> Tensor:
    """An input to keep beyond its step: one that another model made would keep that step's graph alive."""
    return tensor if tensor.grad_fn is None else tensor.detach().requires_grad_()


def _plain(output: Any) -> Any:
    """Model outputs that are objects (HF) as something that tensors can be found in."""
    return dict(output) if hasattr(output, "keys") and not isinstance(output, dict) else output
