"""Which positions of a batch are padding, whether the loss counts them, and whether real positions read them.

The loss counts a position when its gradient with respect to the prediction there is not zero, however masks are applied. Real
positions read padding when their predictions change with what is looked up at padded ones; the ids themselves stay, and with them
every mask that the model derives from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from trainlint.measurements import Padding, SharedToken
from trainlint.probes.data.pad_token import shared_token
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import samples_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.exchange import MOVES, Exchange
from trainlint.probes.step.left_out import left_out
from trainlint.probes.step.lost_ends import lost_ends
from trainlint.probes.step.pads import Pads, arranged, beside, by_mask, padded, run_of
from trainlint.probes.step.predictions import Prediction, predictions
from trainlint.probes.step.sources import Source, position_of, sample_of
from trainlint.probes.step.spread import NOISE, Spread
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_padding"]


_READERS = {
    "recurrent": {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"},
    "attention": {
        "scaled_dot_product_attention", "multi_head_attention_forward", "_transformer_encoder_layer_fwd", "softmax", "bmm", "matmul",
        "__matmul__", "einsum", "baddbmm",
    },
    "pooling": {"mean", "sum", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "nanmean", "embedding_bag"},
    "convolution": {"conv1d", "conv2d", "max_pool1d", "max_pool2d", "max", "amax", "adaptive_max_pool1d", "logsumexp", "conv_transpose1d"},
    "position": {"__getitem__", "select", "index_select", "gather", "take_along_dim", "narrow", "flatten", "reshape", "view"},
}  # fmt: skip
#: Operations that tell padding by its values.
_TESTS = frozenset({
    "abs", "all", "any", "argmax", "argmin", "count_nonzero", "eq", "ge", "gt", "isfinite", "isnan", "le", "lt", "ne", "nonzero", "norm",
    "sign", "__eq__", "__ge__", "__gt__", "__le__", "__lt__", "__ne__",
})  # fmt: skip


def measure_padding(recording: Recording, deadline: float, settings: Settings) -> Padding:
    """Follow the first padded input through the step; where only targets are padded, whether the loss counts those."""
    return replace(_measure(recording), shared_token=_shared(recording))


def _shared(recording: Recording) -> SharedToken | None:
    entry = next(iter(recording.loaders_of("train")), None)
    if entry is None:
        return None
    flow = DataFlow(recording)
    found = shared_token(samples_of(entry), lambda path: flow.role(entry.index, path))
    return replace(found, where=recording.frames.location(recording.dataset_place(entry))) if found is not None else None


def _measure(recording: Recording) -> Padding:
    tape, backward = recording.tape, recording.tape_backward
    if tape is None or backward is None or recording.trust == "none":
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    exchange = Exchange(tape, backward, recording)
    known = list(backward.batch.leaves.values()) if backward.batch is not None else []
    pads = {s: p for s, t in exchange.tensors.items() if (p := padded(exchange.by_sample(s, t), known)) is not None}
    judged = predictions(tape, exchange.samples)
    if not pads:
        return Padding(left_out=left_out(recording, exchange, judged, pads))
    kept = exchange.begin(tuple(p.slot for p in judged))
    inputs = [s for s in pads if s in exchange.leaves]
    first = next(iter(inputs or pads))
    paths = {slot: path for path, slot in tape.batch.items()}
    result = Padding(
        found=True,
        path=paths.get(first, ""),
        side=pads[first].side,
        value=pads[first].value,
        share=float(pads[first].mask.float().mean()),
        masked=pads[first].masked,
        left_out=left_out(recording, exchange, judged, pads),
        lost_ends=lost_ends(recording, exchange, judged, pads),
        unused_mask=_unused_mask(exchange, first, backward.batch.leaves) if pads[first].masked and backward.batch is not None else "",
    )
    for prediction in judged:
        loss = _counted(exchange, prediction, kept[prediction.slot], pads, inputs)
        if loss is not None:
            read = _read(exchange, prediction, kept[prediction.slot], pads[first], first, loss.scored & ~loss.padding) if inputs else None
            if (filled := _filled(exchange, prediction, loss, pads[loss.slot])) is not None:
                result = replace(result, fill=filled[0], real=filled[1], target=filled[2])
            return _with(recording, exchange, result, prediction, loss, read)
    for prediction in judged:
        if inputs and (read := _read(exchange, prediction, kept[prediction.slot], pads[first], first, None)) is not None:
            return _with(recording, exchange, result, prediction, None, read)
    return result


def _unused_mask(exchange: Exchange, slot: int, leaves: Mapping[str, Tensor]) -> str:
    """Path of the mask of padding in the batch, where none of those that the loss depends on is one."""
    ids = exchange.by_sample(slot, exchange.tensors[slot])
    masks = [p for p, t in leaves.items() if ids is not None and t.shape == ids.shape and by_mask(ids, t.to(ids.device)) is not None]
    return masks[0] if masks and not any(path in exchange.tape.batch for path in masks) else ""


# -- in the loss -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scored:
    """Which elements of the target the loss scores, and which are padding."""

    scored: Tensor
    padding: Tensor
    slot: int
    """The padded tensor that tells."""
    lay: Callable[[Tensor], Tensor]
    """Lays a (samples, time) mask of it on the elements."""


def _counted(exchange: Exchange, prediction: Prediction, value: Tensor, pads: Mapping[int, Pads], inputs: list[int]) -> _Scored | None:
    """What the loss scores; None when predictions are not made by position."""
    shape = value.shape[:1] + value.shape[2:] if prediction.classes and value.dim() > 1 else value.shape
    found = _padding_of(exchange, prediction, shape, pads, inputs)
    if found is None:
        return None
    slot, lay = found
    gradient = exchange.sensitivity(prediction.slot, value)
    if gradient is None:
        return None
    scored = gradient.abs() > 0
    return _Scored(scored.any(1) if prediction.classes and scored.dim() > 1 else scored, lay(pads[slot].mask), slot, lay)


def _padding_of(
    exchange: Exchange, prediction: Prediction, shape: torch.Size, pads: Mapping[int, Pads], inputs: list[int]
) -> tuple[int, Callable[[Tensor], Tensor]] | None:
    """The padded tensor that tells which elements of the target are padding, and what lays its (samples, time) masks on them."""
    target = prediction.target if prediction.target is not None else -1
    labels = exchange.labels.get(target)
    if labels is not None and labels.shape == shape:
        origin = exchange.origin[target]
        own = exchange.by_sample(origin, exchange.tensors[origin])
        for slot in (*inputs, origin):
            if slot in pads and own is not None and own.dim() >= 2 and pads[slot].mask.shape == own.shape[:2]:
                return slot, partial(_look_up, labels=labels)
        return None
    for slot in (*inputs, *(s for s in pads if s not in inputs)):
        if arranged(pads[slot].mask, shape) is not None:
            return slot, lambda mask: cast("Tensor", arranged(mask, shape))
    return None


def _filled(exchange: Exchange, prediction: Prediction, scored: _Scored, pads: Pads) -> tuple[int, float, str] | None:
    """``(class, share, path)``: the class that fills targets up, its share of the real ones, and the batch's tensor of targets."""
    call = prediction.call
    given, named = exchange.tape.observed.get(call, ((), {})) if call is not None else ((), {})
    target = given[1] if len(given) > 1 else named.get("target")
    if not prediction.classes or call is None or not isinstance(target, Tensor) or target.shape != scored.padding.shape:
        return None
    ids = exchange.by_sample(scored.slot, exchange.tensors[scored.slot])
    classes = target[scored.padding.to(target.device)]
    if ids is None or target.is_floating_point() or not classes.numel() or bool((classes != classes[0]).any()):
        return None
    run = pads.mask if pads.masked or ids.dim() != 2 else run_of(ids, pads.value, pads.side)
    real = target[scored.lay(~beside(run, pads.side)).to(target.device)]
    origin = exchange.origin.get(prediction.target if prediction.target is not None else -1)
    plain = exchange.tape.operations[call].argument(4, "ignore_index", -100) == -100 and origin != scored.slot
    path = next((p for p, s in exchange.tape.batch.items() if s == origin), "") if plain else ""
    return int(classes[0]), float((real == classes[0]).float().mean()) if real.numel() else 0.0, path


def _look_up(mask: Tensor, labels: Tensor) -> Tensor:
    samples, positions = sample_of(labels), position_of(labels)
    known = (samples >= 0) & (positions >= 0)
    return mask.to(labels.device)[samples.clamp_min(0), positions.clamp_min(0)] & known


# -- in the predictions ------------------------------------------------------------------------------------------------


def _read(
    exchange: Exchange, prediction: Prediction, before: Tensor, pads: Pads, leaf: int, real: Tensor | None
) -> tuple[float, Operation | None, bool] | None:
    """``(influence, first operation that carries padding to real positions, pads are zero)``."""
    sources = [s for s in exchange.sources if s.leaf == leaf and s.labels.shape == s.values.shape[: s.labels.dim()]]
    if not sources or (not sources[0].made and _is_tested(exchange, leaf)):
        return None
    where = {s.slot: _look_up(pads.mask, s.labels) for s in sources}

    def changed(padding: bool) -> dict[int, Tensor]:
        return {s.slot: _shuffled(s, where[s.slot], padding=padding) for s in sources}

    effects = []
    for padding in (True, False):
        after = exchange.with_values(changed(padding), (prediction.slot,))[prediction.slot]
        change = prediction.changes(before, after)
        if real is not None and real.shape != change.shape:
            return None
        held = change[real] if real is not None else change
        effects.append(float(held.mean()) if held.numel() else 0.0)
    if not effects[1]:
        return None
    influence = effects[0] / effects[1]
    zero = all(not bool(s.values[where[s.slot]].any()) for s in sources)
    if influence <= NOISE:
        return influence, None, zero
    return influence, _reader(exchange, prediction, sources, where), zero


def _is_tested(exchange: Exchange, leaf: int) -> bool:
    """Whether the step looks at a tensor's values to tell padding apart."""
    slots = {leaf}
    for op in exchange.tape.operations:
        if any(s in slots for s in op.inputs):
            if op.name in _TESTS:
                return True
            if op.name in MOVES or op.name in ("to", "float"):
                slots.update(op.outputs)
    return False


def _shuffled(source: Source, where: Tensor, *, padding: bool) -> Tensor:
    """What stands at padded (or at real) positions exchanged for what stands at real ones, in an order of its own."""
    values = source.values.clone()
    donors = source.values[~where]
    goal = where if padding else ~where
    order = torch.arange(int(goal.sum()), device=values.device) * 7919 + len(donors) // 2 + 1
    if len(donors):
        values[goal] = donors[order % len(donors)]
    return values


def _reader(exchange: Exchange, prediction: Prediction, sources: list[Source], where: Mapping[int, Tensor]) -> Operation | None:
    """The first operation whose output at real positions of one sample depends on its padding."""
    source = max(sources, key=lambda s: s.values.numel())
    samples, positions = sample_of(source.labels), position_of(source.labels)
    length = int(positions.max()) + 1
    stretches = [set(positions[where[source.slot] & (samples == i)].tolist()) for i in range(exchange.samples)]
    # The axis of samples may look like one of time, too: then the sample's own number must not be that of a padded position.
    clear = [i for i, filled in enumerate(stretches) if not {i % length, i * length // exchange.samples} & filled]
    sample = min(clear or range(exchange.samples), key=lambda i: abs(len(stretches[i]) - length / 2))
    mine = {s.slot: where[s.slot] & (sample_of(s.labels) == sample) for s in sources}
    if not (filled := stretches[sample]):
        return None
    values = {}
    for one in sources:
        other = one.values.clone()
        donors = one.values[~where[one.slot]]
        other[mine[one.slot]] = donors[torch.arange(int(mine[one.slot].sum()), device=donors.device) % len(donors)]
        values[one.slot] = other
    spread = Spread(
        exchange.tape,
        length,
        lambda observe: exchange.again((), observe),
        lambda observe: exchange.with_values(values, (), observe),
    )
    return spread.first_beyond(prediction.slot, lambda numbers: torch.tensor([int(n) in filled for n in numbers], dtype=torch.bool))


def _with(
    recording: Recording,
    exchange: Exchange,
    result: Padding,
    prediction: Prediction,
    loss: _Scored | None,
    read: tuple[float, Operation | None, bool] | None,
) -> Padding:
    call = exchange.tape.operations[prediction.call] if prediction.call is not None else None
    if loss is not None:
        count = int(loss.scored.sum())
        result = replace(
            result,
            counted=int((loss.scored & loss.padding).sum()) / count if count else 0.0,
            scored=count,
            loss=call.name if call is not None else "",
            loss_where=recording.frames.location(call.place if call is not None else exchange.tape.place),
        )
    if read is not None:
        influence, op, zero = read
        reader = next((kind for kind, names in _READERS.items() if op is not None and op.name in names), "other" if op is not None else "")
        if zero and op is not None and op.name in ("sum", "embedding_bag"):
            reader = "other"  # zeros add nothing
        result = replace(
            result,
            influence=influence,
            reader=reader,
            operation=op.name.strip("_") if op is not None else "",
            reader_where=recording.frames.location(op.place) if op is not None else None,
        )
    return result
