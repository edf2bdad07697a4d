"""Activations: scale and health of each layer's output in the first training forward, from the weights the script began with.

The first step is replayed with its own batch and its own random draws. A unit counts as dead only when it is zero on every
recorded batch that can be fed, since a few samples alone leave many healthy units at zero.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainlint.measurements import Activation, Activations
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.replay import usable
from trainlint.probes.step.weighing import weighing_before
from trainlint.probes.step.weights import weights_at
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.structure import batch_size
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_activations"]

#: Functions that give zero for all negative (or very negative) inputs.
_RECTIFIERS = frozenset({"relu", "relu6", "hardswish", "threshold", "gelu"})
#: Functions with flat tails, and the values between which they are not flat.
_SATURATING = {
    "tanh": (-0.99, 0.99), "hardtanh": (-0.99, 0.99), "softsign": (-0.99, 0.99), "sigmoid": (0.01, 0.99), "hardsigmoid": (0.01, 0.99),
}  # fmt: skip
#: Axis of the channels in what a function returns; the last one for all others.
_CHANNELS = {
    "conv1d": -2, "conv2d": -3, "conv3d": -4, "conv_transpose1d": -2, "conv_transpose2d": -3, "conv_transpose3d": -4, "batch_norm": 1,
    "group_norm": 1, "instance_norm": 1,
}  # fmt: skip
_LAYERS = (
    frozenset({
        "addmm", "baddbmm", "bilinear", "bmm", "celu", "einsum", "elu", "embedding", "embedding_bag", "glu", "gru", "gru_cell",
        "layer_norm", "leaky_relu", "linear", "lstm", "lstm_cell", "matmul", "mish", "mm", "multi_head_attention_forward", "prelu",
        "rms_norm", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell", "scaled_dot_product_attention", "selu", "silu", "softplus",
    })
    | _RECTIFIERS
    | _SATURATING.keys()
    | _CHANNELS.keys()
)  # fmt: skip
#: Standard deviation of an output from which its layer's gain is looked at.
_LARGE = 100.0
#: Share of outputs in the flat tails from which the weights before a function are looked at.
_FLAT = 0.5
#: Same calls of a layer that are described, as in a loop over time; and layers described in all.
_MOST_CALLS, _MOST_LAYERS = 4, 1000
#: Further recorded batches on which a unit must be zero to count as dead, and the most seconds for them.
_MOST_BATCHES, _MOST_SECONDS = 4, 5.0
#: Relative difference of the replayed loss that still shows the same step: state such as spectral norm's moves with each forward.
_SAME_LOSS = 0.1
#: Relative difference up to which outputs count as equal: the rounding of a few float32 operations.
_EQUAL = 4 * torch.finfo(torch.float32).eps
#: The same for outputs after a few steps: more than this is no rounding in any of the usual precisions.
_ALIKE = 1e-2


def measure_activations(recording: Recording, deadline: float, settings: Settings) -> Activations:
    """Replay the first step's forward passes and describe what each layer gave."""
    layers: list[Activation] = []
    seen: set[tuple[str, str]] = set()
    with weights_at(recording, recording.initial):
        for backward in _first(recording):
            for layer in _Layers(recording, backward, deadline).describe():
                if (layer.module, layer.kind) not in seen and len(layers) < _MOST_LAYERS:
                    layers.append(layer)
            seen = {(known.module, known.kind) for known in layers}
    collapsed = bool(layers) and layers[-1].identical_samples
    return Activations(layers=tuple(layers), told_apart_later=collapsed and _told_apart(recording, deadline))


def _told_apart(recording: Recording, deadline: float) -> bool:
    """Whether the last layer tells the first step's samples apart with the weights that the recorded steps have made."""
    later = _Layers(recording, _first(recording)[-1], deadline, equal=_ALIKE)
    later.replay()
    return bool(later.found) and not list(later.found.values())[-1].identical_samples


def _first(recording: Recording) -> list[Backward]:
    """The backward() calls of the first step, one of each kind of forward; else the one that replays are made of."""
    found = {b.tape.signature(): b for b in reversed(recording.first_tapes) if b.tape is not None}
    if not found and recording.tape is not None and recording.tape_backward is not None:
        found[recording.tape.signature()] = recording.tape_backward
    if not found:
        msg = "the operations of the first training step could not be followed"
        raise CannotMeasureError(msg)
    return sorted(found.values(), key=lambda b: b.index)


class _Layers:
    """What the layers of one taped step give."""

    def __init__(self, recording: Recording, backward: Backward, deadline: float, *, equal: float = _EQUAL) -> None:
        tape = backward.tape or recording.tape
        assert tape is not None
        self.recording, self.backward, self.tape, self.deadline, self.equal = recording, backward, tape, deadline, equal
        self.names = recording.module_names()
        self.in_modules = any(op.module is not None for op in tape.operations)
        leaves = backward.batch.leaves if backward.batch is not None else dict(backward.inputs)
        self.samples = batch_size(leaves)
        self.varied = {s for s, t in tape.outside.items() if not isinstance(t, nn.Parameter) and self._varies(t)}
        """Slots that depend on data that differs between samples."""
        self.channels: dict[int, int] = {}
        self.calls: Counter[tuple[int, str, object]] = Counter()
        self.found: dict[int, Activation] = {}
        self.scales: dict[int, float] = {}
        """Slot of a layer's output -> its standard deviation."""
        self.silent: dict[int, Tensor] = {}
        """Position of a rectifier -> which of its units were zero so far."""

    def describe(self) -> list[Activation]:
        """One entry for each layer's output, in order."""
        loss = self.replay()
        if math.isfinite(loss) and not math.isclose(loss, self.tape.value, rel_tol=_SAME_LOSS, abs_tol=1e-6):
            msg = f"calling the first step's operations again gave the loss {loss:.4g} instead of {self.tape.value:.4g}"
            raise CannotMeasureError(msg)
        if self.tape is self.recording.tape and self.recording.trust == "next step":
            for fill in self._other_batches() if self._has_silent() else ():
                self.tape.replay(fill, observe=self._watch, grad=False)
                if not self._has_silent():
                    break
        return [self._with_dead_units(p, a) for p, a in self.found.items()]

    def _has_silent(self) -> bool:
        return any(bool(silent.any()) for silent in self.silent.values())

    def replay(self) -> float:
        """The loss, with what the layers give on the way to it noted in ``found``."""
        try:
            return float(self.tape.replay(random_of=self.tape, observe=self._observe, grad=False)[self.tape.loss].sum())
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f"the first step's operations could not be called again ({type(error).__name__})"
            raise CannotMeasureError(msg) from error

    def _other_batches(self) -> Iterator[dict[int, Tensor]]:
        batches = [
            b.leaves for b in self.recording.batches if b is not self.backward.batch and b.iteration and b.iteration.phase == "train"
        ]
        until = min(self.deadline, time.monotonic() + _MOST_SECONDS)
        for fill in usable(self.tape, batches[:_MOST_BATCHES]):
            if time.monotonic() > until:
                return
            yield fill

    def _observe(self, position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
        outputs = Tape._made(op)
        if any(s in self.varied for s in op.inputs):
            self.varied.update(outputs)
        name = _plain(op.name)
        if not made or not made[0].is_floating_point() or not made[0].numel() or not outputs:
            return
        axis = self.channels[outputs[0]] = self._channel_axis(name, op, made[0])
        key = (id(op.module), name, op.place)
        self.calls[key] += 1
        if (
            name not in _LAYERS
            or (op.module is None and self.in_modules)
            or self.calls[key] > _MOST_CALLS
            or time.monotonic() > self.deadline
        ):
            return
        values = made[0].detach()
        if name in _RECTIFIERS and values.dim() > 1:
            self.silent[position] = _silent(values, axis)
        layer = _describe(
            values,
            module=self.names.get(id(op.module), type(op.module).__name__ if op.module is not None else ""),
            name=name,
            units=values.shape[axis] if values.dim() else 1,
            identical=outputs[0] in self.varied and self._identical(values),
            recording=self.recording,
            op=op,
        )
        self.scales[outputs[0]] = layer.std
        weighing = weighing_before(self.tape, op, self.recording) if layer.saturated >= _FLAT else None
        self.found[position] = replace(layer, gain=self._gain(op, layer.std), weighing=weighing)

    def _gain(self, op: Operation, std: float) -> float | None:
        """How many times the scale of the layer's input; for large outputs alone."""
        if std < _LARGE or not op.inputs:
            return None
        given = self.tape.outside.get(op.inputs[0])
        if isinstance(given, nn.Parameter) or (given is not None and not given.is_floating_point()):
            return None
        before = self.scales.get(op.inputs[0]) if given is None else float(given.float().std(correction=0))
        return std / before if before else None

    def _watch(self, position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
        if position in self.silent and made:
            self.silent[position] &= _silent(made[0], self.channels[op.outputs[0]])

    def _with_dead_units(self, position: int, layer: Activation) -> Activation:
        silent = self.silent.get(position)
        return layer if silent is None else replace(layer, dead_units=float(silent.float().mean()))

    def _channel_axis(self, name: str, op: Operation, values: Tensor) -> int:
        """The axis of the units: by the layer that made them, kept through functions that leave the shape alone."""
        if name in _CHANNELS:
            return _CHANNELS[name] % max(values.dim(), 1)
        kept = (
            self.channels.get(op.inputs[0])
            if op.inputs and name not in ("linear", "layer_norm", "rms_norm", "permute", "transpose")
            else None
        )
        if kept is not None and self.tape.shapes.get(op.inputs[0], ())[: kept + 1] == tuple(values.shape[: kept + 1]):
            return kept
        return 1 if values.dim() == 4 and name in _RECTIFIERS else max(values.dim() - 1, 0)

    def _varies(self, tensor: Tensor) -> bool:
        axis = self._sample_axis(tensor)
        return axis is not None and bool((tensor.detach() != tensor.detach().narrow(axis, 0, 1)).any())

    def _identical(self, values: Tensor) -> bool:
        axis = self._sample_axis(values)
        if axis is None:
            return False
        spread = (values - values.narrow(axis, 0, 1)).abs().max()
        return bool(spread <= self.equal * values.abs().max())

    def _sample_axis(self, tensor: Tensor) -> int | None:
        if self.samples < 2 or tensor.layout is not torch.strided:
            return None
        return next((axis for axis, size in enumerate(tensor.shape[:2]) if size == self.samples), None)


def _plain(name: str) -> str:
    """``relu_`` -> ``relu``, ``__matmul__`` -> ``matmul``."""
    return name.strip("_").removeprefix("r") if name in ("__rmatmul__",) else name.strip("_")


def _silent(values: Tensor, axis: int) -> Tensor:
    """Which units are zero in every sample and position; shape (units,)."""
    return ~(values.detach() != 0).movedim(axis, 0).flatten(1).any(dim=1)


def _describe(values: Tensor, *, module: str, name: str, units: int, identical: bool, recording: Recording, op: Operation) -> Activation:
    """Statistics over the finite elements."""
    known = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    low, high = torch.aminmax(known)
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        known = known[torch.isfinite(known)]
        if not known.numel():
            known = values.new_zeros(1, dtype=torch.float32)
        low, high = torch.aminmax(known)
    largest = float(torch.maximum(-low, high))
    scaled = known / largest if largest else known  # squares of very large values would overflow
    flat = _SATURATING.get(name)
    return Activation(
        module=module,
        kind=name,
        std=float(scaled.std(correction=0)) * (largest or 1.0),
        mean=float(scaled.mean()) * (largest or 1.0),
        absolute_max=largest,
        zero_share=float((known == 0).float().mean()),
        saturated=float(((known < flat[0]) | (known > flat[1])).float().mean()) if flat else 0.0,
        identical_samples=identical,
        units=units,
        where=recording.frames.location(op.place),
    )
