"""Runs the forward of the recorded step again with one sample's input, or one token, exchanged for another.

What changes then depends on that sample or token. All else is held still: dropout is off, batch norm keeps the statistics of the
recorded batch, and random draws are repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainlint.probes.data.flow import trace
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.sources import Source, labelled, looked_up, with_noise, with_others
from trainlint.record.operation import Operation, tensors_in, without_regularisation
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.snapshot import Snapshot, state_tensors
from trainlint.record.structure import batch_size
from trainlint.record.tape import Tape

__all__ = ["MOVES", "Exchange"]

#: Operations that only move elements. Labels put on the elements of their first argument move along.
MOVES = frozenset({
    "T", "__getitem__", "as_strided", "broadcast_to", "cat", "chunk", "clone", "concat", "contiguous", "data", "detach", "expand",
    "expand_as", "flatten", "flip", "gather", "index_select", "masked_fill", "masked_select", "moveaxis", "movedim", "narrow",
    "_pack_padded_sequence", "_pad_packed_sequence", "pad", "permute", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as",
    "roll", "select", "split", "squeeze", "stack", "swapaxes", "swapdims", "t", "take_along_dim", "tensor_split", "transpose", "unbind",
    "unflatten", "unfold", "unsqueeze", "view", "view_as",
})  # fmt: skip
#: Operations that change the type or the device only.
_CASTS = frozenset({
    "bfloat16", "cpu", "cuda", "double", "float", "half", "int", "long", "to", "type", "type_as",
})  # fmt: skip
#: Operations on single elements, which stay in their place.
_ELEMENTWISE = frozenset({
    "__rsub__", "add", "add_", "clamp", "clamp_", "clip", "div", "div_", "floor_divide", "mul", "mul_", "remainder", "sub", "sub_",
})  # fmt: skip
#: Batches with more elements are not labelled element by element.
_MOST_LABELLED = 2**24
#: What an additive mask puts where nothing may be seen is at most this (half precision holds no less than -65504).
_HIDDEN = -1e4
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


class Exchange:
    """The recorded step, its samples, and what it gives when some of them are exchanged."""

    def __init__(self, tape: Tape, backward: Backward, recording: Recording) -> None:
        self.tape = tape
        tensors = {s: tape.pristine.get(s, tape.outside[s]) for s in tape.batch.values()}
        if not tensors or not trace(tape, tensors).inputs:  # a loop without a loader, or one that converts its batches outside of torch
            own = {b.data_ptr() for m in recording.models() for b in m.buffers() if b.layout is torch.strided}
            loose = {s: t for s, t in tape.constants.items() if t.layout is torch.strided and t.numel() > 1 and t.data_ptr() not in own}
            loose = {s: t for s, t in loose.items() if not _is_mask(t)}
            tensors |= {s: tape.pristine.get(s, t) for s, t in loose.items()}
        self.samples, self.certain = _samples(tape, backward, tensors)
        """Samples in the batch, and whether the loader says so."""
        if self.samples < 2:
            msg = "the recorded batch holds one sample only" if self.samples else "no tensor of the batch has one row a sample"
            raise CannotMeasureError(msg)
        self.tensors = tensors
        """Tensors of the batch by slot, targets among them."""
        flow = trace(tape, tensors)
        self.leaves = {s: t for s, t in tensors.items() if s in flow.inputs or not flow.inputs}
        """Tensors that enter the model, by slot."""
        self.axes = {s: a for s, t in tensors.items() if (a := self._axis(t)) is not None}
        self.certain &= not any(t.dim() > 1 and t.shape[0] == t.shape[1] for t in tensors.values())
        small = {s: a for s, a in self.axes.items() if tensors[s].numel() <= _MOST_LABELLED}
        self.labels = {s: labelled(tensors[s], a) for s, a in small.items()}
        """Labels of the elements of a slot, where they were only moved since the loader."""
        self.origin: dict[int, int] = {s: s for s in self.labels}
        """Slot of the batch tensor that labelled elements come from."""
        self.sources: list[Source] = []
        self._state = Snapshot(state_tensors(recording.models()))
        self._statistics: dict[int, tuple[Tensor, Tensor]] = {}
        self._labelling = False
        self._embedded: dict[int, Tensor] = {}

    # -- running -------------------------------------------------------------------------------------------------------

    def begin(self, keep: tuple[int, ...]) -> dict[int, Tensor]:
        """Run as recorded: returns ``keep`` slots, follows labels and finds the sources."""
        self._labelling = True
        try:
            kept = self._replay({}, {}, keep)
        finally:
            self._labelling = False
        self.sources = list(self._leaf_sources())
        known = {s.leaf for s in self.sources}
        self.sources += [s for s in self._embedding_sources() if s.leaf not in known]
        if not self.sources:
            msg = "the batch has no floating values and no tokens that an embedding looks up"
            raise CannotMeasureError(msg)
        return kept

    def again(self, keep: tuple[int, ...], observe: Any = None) -> dict[int, Tensor]:
        """Run as recorded once more."""
        return self._replay({}, {}, keep, observe)

    def without(self, samples: Collection[int], keep: tuple[int, ...], observe: Any = None) -> dict[int, Tensor]:
        """Run with the input of each of these samples exchanged for that of another."""
        return self.with_values({s.slot: with_others(s, samples) for s in self.sources}, keep, observe)

    def disturbed(self, leaf: int, position: int, keep: tuple[int, ...], observe: Any = None) -> dict[int, Tensor]:
        """Run with what was looked up for one position of a token tensor disturbed, in every sample."""
        return self.with_values({s.slot: with_noise(s, position) for s in self.sources if s.leaf == leaf}, keep, observe)

    def replayed(self, fill: Mapping[int, Tensor], keep: tuple[int, ...], observe: Any = None) -> dict[int, Tensor]:
        """Run with other tensors for some of the batch's."""
        return self._replay(fill, {}, keep, observe)

    def gradients(self, fill: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Gradients of the loss for the trainable tensors, by slot, with other tensors for some of the batch's."""
        leaves = {s: t for s, t in self.tape.leaves.items() if not t.is_sparse}
        return self._backward(leaves, fill, {})

    def by_sample(self, slot: int, tensor: Tensor) -> Tensor | None:
        """A tensor of the batch with the samples along its first axis; None when neither of the first two axes counts them."""
        axis = self.axes.get(slot)
        return None if axis is None else tensor if axis == 0 else tensor.transpose(0, 1)

    def sensitivity(self, slot: int, value: Tensor) -> Tensor | None:
        """Gradient of the loss with respect to a slot that holds ``value``; None when there is no way from it to the loss."""
        leaf = value.detach().requires_grad_()
        return self._backward({slot: leaf}, {}, {slot: leaf.view_as(leaf)}).get(slot)

    def _backward(self, leaves: dict[int, Tensor], fill: Mapping[int, Tensor], other: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Gradients of the loss by slot; none for a tensor that does not lead to it."""
        try:
            with torch.enable_grad():
                loss = self.tape.replay(fill, replace=other, random_of=self.tape, change=self._held_still)[self.tape.loss].sum()
                found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if loss.requires_grad else ()
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            msg = f"the step does not run backward a second time ({type(error).__name__})"
            raise CannotMeasureError(msg) from error
        finally:
            self._state.restore()
        return {s: g.coalesce().to_dense() if g.is_sparse else g for s, g in zip(leaves, found, strict=False) if g is not None}

    def with_values(self, values: Mapping[int, Tensor], keep: tuple[int, ...], observe: Any = None) -> dict[int, Tensor]:
        """Run with other values for some sources."""
        made = {s.slot for s in self.sources if s.made}
        fill = {s: t for s, t in values.items() if s not in made}
        return self._replay(fill, {s: t for s, t in values.items() if s in made}, keep, observe)

    def _replay(
        self, fill: Mapping[int, Tensor], other: Mapping[int, Tensor], keep: tuple[int, ...], observe: Any = None
    ) -> dict[int, Tensor]:
        try:
            return self.tape.replay(
                fill, replace=other, keep=keep, random_of=self.tape, change=self._held_still, observe=observe, grad=False
            )
        except (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
            msg = f"the step does not run with one sample exchanged ({type(error).__name__})"
            raise CannotMeasureError(msg) from error
        finally:
            self._state.restore()  # what a forward keeps for the next one, as spectral norm does, would look like an effect

    def _held_still(self, op: Operation) -> Operation:
        calmed = without_regularisation(op)
        return replace(calmed, call=partial(self._call, op, calmed.call))

    def _call(self, op: Operation, call: Any, *args: Any, **kwargs: Any) -> Any:
        if op.name == "batch_norm" and len(args) <= len(_BATCH_NORM):
            given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
            if given.get("training"):
                return self._normalise(op, **given)
        if self._labelling and (op.name in MOVES or op.name in _CASTS) and op.inputs:
            self._move_labels(op, call, args, kwargs)
        result = call(*args, **kwargs)
        if self._labelling and op.name in _ELEMENTWISE and isinstance(result, Tensor):
            kept = next((s for s in op.inputs if s in self.labels and self.labels[s].shape == result.shape), None)
            if kept is not None:
                self.labels[op.outputs[0]], self.origin[op.outputs[0]] = self.labels[kept], self.origin[kept]
        if self._labelling and (slot := looked_up(op, self.tape)) is not None and slot in self.labels and isinstance(result, Tensor):
            self._embedded[op.outputs[0]] = result.detach().clone()
            self.origin[op.outputs[0]] = slot
        return result

    def _normalise(self, op: Operation, **given: Any) -> Tensor:
        """Batch norm by the statistics of the first run."""
        x: Tensor = given["input"]
        if id(op) not in self._statistics:
            self._statistics[id(op)] = _statistics(x.detach().float())
        mean, variance = self._statistics[id(op)]
        if x.dtype is torch.float64:
            mean, variance = mean.double(), variance.double()
        return F.batch_norm(x, mean, variance, given.get("weight"), given.get("bias"), False, 0.0, given.get("eps", 1e-5))

    # -- labels --------------------------------------------------------------------------------------------------------

    def _axis(self, tensor: Tensor) -> int | None:
        return next((axis for axis, size in enumerate(tensor.shape[:2]) if size == self.samples), None)

    def _move_labels(self, op: Operation, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = next((s for s in op.inputs if s in self.labels), None)
        if first is None or not args:
            return
        if isinstance(args[0], list | tuple):
            joined = zip(op.inputs, tensors_in(args[0]), strict=False)
            data: Any = [self.labels.get(s, torch.zeros_like(t, dtype=torch.long)) for s, t in joined]
        elif op.inputs[0] == first:
            data = self.labels[first]
        else:
            return
        with suppress(RuntimeError, IndexError, ValueError, TypeError):
            moved = list(tensors_in(call(data, *args[1:], **kwargs)))
            if op.name in _CASTS:
                moved = [data.to(m.device) for m in moved]  # low precision would not hold the labels
            for slot, labels in zip(op.outputs, moved, strict=False):
                self.labels[slot] = labels
                self.origin[slot] = self.origin[first]

    # -- sources -------------------------------------------------------------------------------------------------------

    def _leaf_sources(self) -> Iterator[Source]:
        for slot, tensor in self.leaves.items():
            content = tensor.is_floating_point() or (tensor.dtype is not torch.bool and tensor.dim() > 2) or tensor.dtype is torch.uint8
            if not content or not tensor.dim() or tensor.numel() < 2:
                continue
            axis = self.axes.get(slot)
            if axis is None:
                msg = f"rows are not samples: a tensor of shape {tuple(tensor.shape)} enters the model in a batch of {self.samples} samples"
                raise CannotMeasureError(msg)
            outer = tensor.flatten(axis + 1)[..., 0] if tensor.dim() > axis + 1 else tensor
            yield Source(slot, False, tensor, labelled(outer, axis), slot)

    def _embedding_sources(self) -> Iterator[Source]:
        for slot, values in self._embedded.items():
            ids = self.origin[slot]
            labels = self.labels[ids]
            if values.shape[: labels.dim()] == labels.shape and self.origin[ids] in self.leaves:
                yield Source(slot, True, values, labels, self.origin[ids])


def _is_mask(tensor: Tensor) -> bool:
    """Whether a tensor only hides positions from an attention: zeros, and minus infinity or what stands for it."""
    if not tensor.is_floating_point():
        return False
    hidden = tensor <= _HIDDEN
    return bool(hidden.any()) and bool((hidden | (tensor == 0)).all())


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel (axis 1), as batch norm takes them."""
    mean, variance, count = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1]), x.numel() // x.shape[1]
    F.batch_norm(x, mean, variance, training=True, momentum=1.0)
    return mean, variance * ((count - 1) / count)  # running variances are those of a sample


def _samples(tape: Tape, backward: Backward, tensors: Mapping[int, Tensor]) -> tuple[int, bool]:
    """Number of samples in the batch, and whether the loader says so."""
    batch = backward.batch
    sizes = {size for t in tensors.values() for size in t.shape[:2]}
    if batch is not None and batch.iteration is not None and tape.batch:
        asked = batch.iteration.indices
        chosen = asked[batch.position] if batch.position < len(asked) else None
        loader = batch.iteration.loader.loader
        told = len(chosen) if isinstance(chosen, list) else loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
        if told in sizes:
            return int(told), True
    given = {name: t for name, t in backward.inputs if t.dim() and not t.requires_grad and not _is_mask(t)}
    return batch_size(given if given and not tape.batch else {str(s): t for s, t in tensors.items()}), False
