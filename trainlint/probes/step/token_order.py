"""Whether the order of the tokens in a row reaches what is predicted.

Attention alone treats a row as a set. The recorded step is run again with the inner tokens of every row in another order; first and last stay,
since many models read their answer there. Predictions for tokens are compared token by token. A stream that was cut across comes first
(:mod:`trainlint.probes.step.cut_stream`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainlint.location import Location
from trainlint.measurements import TokenOrder
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.batch_place import depends_on_place
from trainlint.probes.step.cut_stream import cut_stream
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.pads import padded
from trainlint.probes.step.predictions import Prediction, predictions
from trainlint.probes.step.sources import Source
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_token_order"]

_ATTENTION = frozenset({"_transformer_encoder_layer_fwd", "multi_head_attention_forward", "scaled_dot_product_attention"})
#: Fewest tokens of a row; share of ids of one half of the columns that occur in the other when ids mean the same in all columns.
_LEAST, _SHARED = 6, 0.5
#: Weights below this began at zero and may be positions, or a bias for distances, that are still to be learned.
_ZERO = 1e-2
#: Share of the change by other tokens that is looked at more closely; rounding explains less.
_EQUAL = 1e-3


def measure_token_order(recording: Recording, deadline: float, settings: Settings) -> TokenOrder:
    """Reorder tokens, and for comparison exchange them for another sample's. Three forwards."""
    tape, backward = recording.tape, recording.tape_backward
    if tape is None or backward is None or recording.trust == "none":
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    if (stream := cut_stream(recording)) is not None:
        return TokenOrder(stream=stream)
    attention = next((op for op in tape.operations if _attends(tape, op)), None)
    if attention is None:
        return TokenOrder()
    exchange = Exchange(tape, backward, recording)
    judged = [p for p in predictions(tape, exchange.samples) if p.slot in tape.producers]
    if not judged:
        msg = "no tensor that leads to the loss has one row a sample"
        raise CannotMeasureError(msg)
    slots = tuple(p.slot for p in judged)
    before = exchange.begin(slots)
    source = _tokens(exchange)
    ids = exchange.tensors[source.leaf]
    known = list(backward.batch.leaves.values()) if backward.batch is not None else []
    _decline_unclear(tape, ids, known)
    length = ids.shape[1]
    order = torch.cat([torch.tensor([0]), torch.arange(length - 2, 0, -1).roll(1), torch.tensor([length - 1])]).to(ids.device)
    others = ids.clone()
    others[:, 1:-1] = ids.roll(1, 0)[:, 1:-1]
    moved, exchanged = exchange.replayed({source.leaf: ids[:, order]}, slots), exchange.replayed({source.leaf: others}, slots)
    effect = max(_change(before[s], exchanged[s]) for s in slots)
    change = max(_change(_in_order(before[s], order, exchange.samples), moved[s]) for s in slots)
    if effect <= 0:
        msg = "no prediction depends on the tokens"
        raise CannotMeasureError(msg)
    return TokenOrder(
        attends=True,
        tokens=length,
        samples=exchange.samples,
        change=change,
        effect=effect,
        where=_where(recording, tape, source, attention),
        by_sample=_by_sample(exchange, judged, before, recording) if change <= _EQUAL * effect else None,
    )


def _by_sample(exchange: Exchange, judged: list[Prediction], before: dict[int, Tensor], recording: Recording) -> Location | None:
    """Where something is added or looked up by the place of a sample in the batch."""
    try:
        placed = depends_on_place(exchange, judged, before, recording)
    except CannotMeasureError:
        return None
    return recording.frames.location(placed.operation.place) if placed is not None and placed.operation is not None else None


def _attends(tape: Tape, op: Operation) -> bool:
    """Whether an operation is an attention among the positions of one sequence."""
    shape = tape.shapes.get(op.outputs[0], ()) if op.outputs else ()
    return op.name in _ATTENTION or (op.name == "softmax" and len(shape) >= 3 and shape[-1] == shape[-2] >= _LEAST)


def _tokens(exchange: Exchange) -> Source:
    """What was looked up for the tokens, the only tensor that enters the model."""
    made = [s for s in exchange.sources if s.made]
    if len(exchange.leaves) != 1 or len({s.leaf for s in made}) != 1 or len(made) != len(exchange.sources):
        msg = "the model is not given one tensor of tokens alone; another may hold their places"
        raise CannotMeasureError(msg)
    ids = exchange.tensors[made[0].leaf]
    if ids.dim() != 2 or ids.is_floating_point() or ids.shape[1] < _LEAST or exchange.axes.get(made[0].leaf) != 0 or not exchange.certain:
        msg = "tokens do not come as (samples, time)"
        raise CannotMeasureError(msg)
    return made[0]


def _decline_unclear(tape: Tape, ids: Tensor, known: list[Tensor]) -> None:
    """Raise where tokens may be padded, masked, or columns of a table, or where positions may have begun at zero."""
    if padded(ids, known) is not None or any(t.shape == ids.shape and t is not ids and int(t.max()) <= 1 for t in known if t.numel()):
        msg = "rows are padded or masked, and would be so in other places"
        raise CannotMeasureError(msg)
    odd, even = ids[:, 1::2].unique(), ids[:, 2::2].unique()
    if min(float(torch.isin(odd, even).float().mean()), float(torch.isin(even, odd).float().mean())) < _SHARED:
        msg = "each column holds ids of its own, which tell their places"
        raise CannotMeasureError(msg)
    if any(p.dim() >= 2 and float(p.detach().abs().max()) < _ZERO for p in tape.parameters.values()):
        msg = "a weight is still near zero and may hold positions"
        raise CannotMeasureError(msg)


def _in_order(values: Tensor, order: Tensor, samples: int) -> Tensor:
    """Predictions for tokens in the order of the tokens; others as they are."""
    length = len(order)
    if values.dim() >= 2 and values.shape[:2] == (samples, length):
        return values[:, order]
    if values.dim() >= 2 and values.shape[0] == samples * length:
        return values.reshape(samples, length, *values.shape[1:])[:, order].reshape(values.shape)
    if values.dim() == 3 and values.shape[2] == length:
        return values[:, :, order]
    return values


def _change(before: Tensor, after: Tensor) -> float:
    if before.shape != after.shape:
        return float("inf")
    return float((before.detach().double() - after.detach().double()).abs().nan_to_num().max()) if before.numel() else 0.0


def _where(recording: Recording, tape: Tape, source: Source, attention: Operation) -> Location | None:
    """Where tokens are looked up, which is where positions belong."""
    position = tape.producers.get(source.slot)
    return recording.frames.location((tape.operations[position] if position is not None else attention).place)
