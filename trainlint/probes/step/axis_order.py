"""Reshapes of a recorded step that read memory in another order of axes than it was written in.

Sizes say which (:mod:`trainlint.probes.step.axes`); what becomes of the result says whether it matters. One that is sliced, as the shift of relative
positions is, or brought back, is meant so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from trainlint.measurements import AxisOrder, Reshape
from trainlint.probes.data.collate_axes import collate_reshapes
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import samples_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.axes import Reordering, reordering
from trainlint.record.frames import Frames
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["Slip", "measure_axis_order", "slips"]

RESHAPES = frozenset({"reshape", "reshape_as", "unflatten", "flatten", "view", "view_as"})
#: Operations that keep axes and what they mean.
_SAME_AXES = frozenset({
    "add", "add_", "alpha_dropout", "bfloat16", "clamp", "clone", "contiguous", "div", "div_", "dropout", "dropout1d", "dropout2d", "elu", "exp",
    "float", "gelu", "half", "hardswish", "leaky_relu", "masked_fill", "mish", "mul", "mul_", "neg", "prelu", "relu", "relu6", "relu_", "rsub",
    "selu", "sigmoid", "silu", "softplus", "sub", "sub_", "tanh", "to", "true_divide", "truediv", "type_as",
})  # fmt: skip
#: Operations that move axes, or take one apart, and keep what the others mean.
_MOVES = frozenset({
    "chunk", "expand", "movedim", "moveaxis", "mT", "permute", "repeat", "select", "split", "squeeze", "swapaxes", "swapdims", "t", "T",
    "transpose", "unbind", "unsqueeze",
})  # fmt: skip
#: Operations that read features along the axis behind the batch, and those that read them along the last.
_FIRST = frozenset({
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm", "conv1d",
    "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "cross_entropy", "group_norm", "instance_norm", "interpolate", "max_pool1d",
    "max_pool2d", "max_pool1d_with_indices", "nll_loss",
})  # fmt: skip
_LAST = frozenset({
    "embedding", "gru", "layer_norm", "linear", "lstm", "multi_head_attention_forward", "rms_norm", "rnn_relu", "rnn_tanh",
    "scaled_dot_product_attention",
})  # fmt: skip
_PRODUCTS = frozenset(
    {"__matmul__", "__rmatmul__", "addmm", "baddbmm", "bmm", "einsum", "matmul", "mm", "normalize", "softmax", "log_softmax"}
)
_ATTENTION = frozenset({"__matmul__", "baddbmm", "bmm", "einsum", "matmul", "scaled_dot_product_attention"})
#: Operations that read an axis when they are given one.
_REDUCES = frozenset({"amax", "amin", "argmax", "cumsum", "logsumexp", "max", "mean", "min", "std", "sum", "var"})
_READERS = _FIRST | _LAST | _PRODUCTS
#: Operations that take an axis apart, and where among their arguments it stands.
_PARTS = {"chunk": 2, "narrow": 1, "select": 1, "split": 2, "tensor_split": 2, "unbind": 1}
_JOINS = frozenset({"cat", "concat", "concatenate"})
#: How far the result is followed.
_MOST_STEPS = 64


@dataclass(frozen=True)
class Slip:
    """One reshape that should have been a transpose."""

    operation: Operation
    before: tuple[int, ...]
    after: tuple[int, ...]
    instead: Reordering
    reader: str
    """The operation that reads the result by its axes."""


def measure_axis_order(recording: Recording, deadline: float, settings: Settings) -> AxisOrder:
    """Look at every reshape of the recorded step, and of those of other optimizers, which are not run again; and ask the collate function."""
    seen = [recording.tape, *(backward.tape for backward in (*recording.turn_tapes, *recording.first_tapes))]
    tapes = list({id(tape): tape for tape in seen if tape is not None}.values())
    collated = _collated(recording)
    if not tapes and not collated:
        msg = f"no step was recorded: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    found: dict[object, Reshape] = {}
    for slip in (slip for tape in tapes for slip in slips(tape)):
        where = recording.frames.location(slip.operation.place)
        if where is not None and where not in found and _own(recording.frames, slip.operation.module):
            found[where] = Reshape(
                operation=slip.operation.name,
                before=slip.before,
                after=slip.after,
                opened=slip.instead.opened,
                order=slip.instead.order,
                reader="an index" if slip.reader == "__getitem__" else slip.reader.strip("_"),
                where=where,
            )
    reshapes = sum(op.name in RESHAPES for op in tapes[0].operations) if tapes else 0
    return AxisOrder(reshapes=reshapes + len(collated), slips=(*collated, *found.values()))


def _collated(recording: Recording) -> tuple[Reshape, ...]:
    entry = next(iter(recording.loaders_of("train")), None)
    if entry is None:
        return ()
    flow = DataFlow(recording)
    return collate_reshapes(samples_of(entry), lambda path: flow.role(entry.index, path), recording.frames)


def _own(frames: Frames, module: nn.Module | None) -> bool:
    """Whether a layer is the user's or torch's, not of a library, whose forward was read by others before."""
    name = type(module).__module__
    if module is None or name.startswith("torch.nn."):
        return True
    return frames.is_user(getattr(sys.modules.get(name), "__file__", None) or name)


def slips(tape: Tape) -> Iterator[Slip]:
    """The reshapes of a tape whose result is read with its axes in a wrong order."""
    followed: dict[int, list[int]] = {}
    for position, op in enumerate(tape.operations):
        if op.name not in RESHAPES or not op.inputs or not op.outputs:
            continue
        before, after = tape.shapes[op.inputs[0]], tape.shapes[op.outputs[0]]
        plain = reordering(before, after)  # of this one alone: windows are joined by one reshape and cut anew by the next
        channels = _channels(tape, op)
        size = channels if plain is not None else after[-1] if after else 0  # of what a head gives for one place, or for one of its boxes
        instead = plain or _cut_open(before, after, channels)
        if instead is None or not _of_the_batch(tape, position) or _turned_before(tape, op):
            continue
        if not followed:
            for place, taker in enumerate(tape.operations):
                for slot in set(taker.inputs):
                    followed.setdefault(slot, []).append(place)
        reader = _reader(tape, followed, op, before, size if channels else 0)
        if reader is None:
            continue
        if _by_channel(tape, reader, size) or (plain is not None and (instead.certain or _moved(tape, op, reader, instead))):
            yield Slip(op, before, after, instead, reader.name)


def _channels(tape: Tape, op: Operation) -> int:
    """The channels of a reshape's input, where a layer made it that holds them behind the batch; else 0."""
    maker, before = _maker(tape, op), tape.shapes[op.inputs[0]]
    made = tape.shapes[maker.outputs[0]] if maker is not None and maker.name in _FIRST else ()
    return before[1] if len(before) > 2 and tuple(made) == tuple(before) else 0


def _cut_open(before: tuple[int, ...], after: tuple[int, ...], channels: int) -> Reordering | None:
    """What a reshape leaves undone that takes a part of the channels for the last axis, as those of one of many boxes."""
    size = after[-1] if after else 0
    if not channels or size < 2 or channels % size:
        return None
    found = reordering((before[0], channels // size, size, *before[2:]), after)
    return found if found is not None and found.certain else None


def _turned_before(tape: Tape, op: Operation) -> bool:
    """Whether an earlier reshape has changed the order of axes, so that this one may bring it back, as the shift of relative positions does."""
    for place in tape.upstream(op.inputs[0], _keeping_axes, _MOST_STEPS):
        made = tape.operations[place]
        if made.name in RESHAPES and reordering(tape.shapes[made.inputs[0]], tape.shapes[made.outputs[0]]) is not None:
            return True
    return False


def _keeping_axes(op: Operation) -> tuple[int, ...]:
    return tuple(op.inputs) if op.name in _SAME_AXES | RESHAPES or op.name in ("__getitem__", "narrow") else ()


def _of_the_batch(tape: Tape, position: int) -> bool:
    """Whether what is reshaped depends on the batch, and was not padded for the purpose."""
    op = tape.operations[position]
    maker = tape.producers.get(op.inputs[0])
    if maker is not None and tape.operations[maker].name in ("pad", "as_strided", "unfold"):
        return False
    given = set(tape.batch.values()) or set(tape.constants)
    return op.inputs[0] in given or any(given.intersection(tape.operations[p].inputs) for p in tape.upstream(op.inputs[0]))


def _reader(tape: Tape, followed: dict[int, list[int]], slip: Operation, before: tuple[int, ...], size: int) -> Operation | None:
    """The first operation on the way of the result to which the order of its axes matters; None where it is sliced or none is met.

    ``size``: of the last axis of a head's result, which is read by its parts; else 0.
    """
    queue, seen, found = [(slip.outputs[0], True)], set[int](), None
    while queue and len(seen) < _MOST_STEPS:
        slot, still = queue.pop(0)
        for place in followed.get(slot, ()):
            op = tape.operations[place]
            if place in seen:
                continue
            seen.add(place)
            if (
                op.name in _READERS
                or (op.name in _REDUCES and isinstance(op.argument(1, "dim"), int))
                or (size and tape.shapes[slot][-1:] == (size,) and _takes_parts(op, len(tape.shapes[slot])))
            ):
                found = found or op
            elif size and op.name in _JOINS:  # the results of several heads
                queue += [(s, False) for s in op.outputs]
            elif op.name in RESHAPES and still:
                if reordering(before, tape.shapes[op.outputs[0]]) is not None:  # else it is brought back
                    queue.append((op.outputs[0], True))
            elif (op.name == "__getitem__" and _cuts_off(op)) or op.name in ("narrow", "as_strided", "roll", "flip"):
                return None
            elif op.name in _SAME_AXES | RESHAPES:
                queue += [(s, still) for s in op.outputs]
            elif op.name in _MOVES or op.name == "__getitem__":
                queue += [(s, False) for s in op.outputs]
    return found


def _by_channel(tape: Tape, reader: Operation, size: int) -> bool:
    """Whether an operation reads the last axis of a head's result as its channels: takes it apart, or scores as many classes."""
    given = tape.shapes[reader.inputs[0]] if reader.inputs else ()
    if given[-1:] != (size,):
        return False
    return _takes_parts(reader, len(given)) or (reader.name in ("cross_entropy", "nll_loss") and len(given) == 2)


def _takes_parts(op: Operation, axes: int) -> bool:
    """Whether an operation takes single entries of the last axis, or some of them."""
    if op.name == "__getitem__" and len(op.args) > 1:
        parts = op.args[1] if isinstance(op.args[1], tuple) else (op.args[1],)
        one = parts[-1]
        whole = any(p is Ellipsis for p in parts) or sum(p is not None for p in parts) == axes
        return whole and (type(one) is int or (isinstance(one, slice) and (one.start, one.stop, one.step) != (None, None, None)))
    place = _PARTS.get(op.name)
    return place is not None and op.argument(place, "dim", 0) in (-1, axes - 1)


def _cuts_off(op: Operation) -> bool:
    """Whether an index takes a part of an axis off."""
    index = op.args[1] if len(op.args) > 1 else None
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(p, slice) and (p.start, p.stop, p.step) != (None, None, None) for p in parts)


def _moved(tape: Tape, op: Operation, reader: Operation, instead: Reordering) -> bool:
    """Whether layers tell which axis holds features: it has the size on which they were made, in another place, or holds all heads."""
    maker = _maker(tape, op)
    if maker is None or not reader.inputs:
        return False
    shape, given = tape.shapes[maker.outputs[0]], tape.shapes[reader.inputs[0]]
    if len(shape) < 2 or len(given) < 2:
        return False
    heads = instead.order == (0, 2, 1, 3) and len(instead.closed) == 3 and maker.name in _ATTENTION
    if heads and reader.name == "linear" and given[-1] == instead.closed[-1]:
        return True
    made, read = _feature_axis(maker), _feature_axis(reader)
    if made is None or read is None:
        return False
    return shape[made] == given[read] != 1 and len(shape) - made % len(shape) != len(given) - read % len(given)


def _maker(tape: Tape, op: Operation) -> Operation | None:
    """The operation that gave the axes of a reshape's input their meaning."""
    slot = op.inputs[0]
    for _ in range(16):
        place = tape.producers.get(slot)
        if place is None:
            return None
        maker = tape.operations[place]
        if maker.name not in _SAME_AXES | RESHAPES:
            return maker
        slot = maker.inputs[0]
    return None


def _feature_axis(op: Operation) -> int | None:
    return 1 if op.name in _FIRST else -1 if op.name in _LAST else None
