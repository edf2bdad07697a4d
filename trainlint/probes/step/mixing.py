"""Whether one sample's input reaches another sample's prediction, and whether a prediction of the next token sees it.

The forward is run again with one sample exchanged (or one token disturbed), and the predictions that change are compared with
those that may. When others change too, each operation's output is looked at, from the prediction back to the first that mixes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainlint.measurements import Mixing
from trainlint.probes.data.graph_links import crossed_links
from trainlint.probes.data.in_place import overwritten_sample
from trainlint.probes.data.split_samples import samples_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.batch_place import Placed, depends_on_place
from trainlint.probes.step.exchange import MOVES, Exchange
from trainlint.probes.step.next_token import Leak, sees_next_token
from trainlint.probes.step.predictions import Prediction, effects_by_rows, predictions
from trainlint.probes.step.reorders import REORDERS, allowed_rows, among, answers_another, takes_targets_along
from trainlint.probes.step.spread import NOISE, Spread
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_mixing"]

_NORMALISERS = frozenset({"softmax", "log_softmax", "softmin", "gumbel_softmax", "normalize"})
_SEQUENCE_LAYERS = frozenset({"gru", "lstm", "multi_head_attention_forward", "rnn_relu", "rnn_tanh", "scaled_dot_product_attention"})
_MATRIX_PRODUCTS = frozenset({
    "addmm", "baddbmm", "bmm", "cdist", "cosine_similarity", "einsum", "linear", "matmul", "mm", "__matmul__", "__rmatmul__",
})  # fmt: skip
#: Operations that combine rows by an index, as graph layers do.
_BY_INDEX = REORDERS | frozenset({
    "apply", "index_add", "index_add_", "index_reduce_", "scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce",
    "scatter_reduce_", "segment_reduce", "spmm",
})  # fmt: skip


@dataclass(frozen=True)
class _Across:
    """What exchanging samples showed."""

    share: float = 0.0
    operation: Operation | None = None
    mixed: bool = False
    contrastive: bool = False
    answered: tuple[int, int] | None = None
    """A sample, and the one whose target its prediction is compared with."""


class _Noise(dict[Prediction, float]):
    """Changes that are none, by prediction: some kernels add in any order. Seen from one more run, when it is first asked for."""

    def __init__(self, exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor]) -> None:
        self._exchange, self._judged, self._kept = exchange, judged, kept

    def __missing__(self, prediction: Prediction) -> float:
        control = self._exchange.again(tuple(self._kept))
        self.update({p: 10 * float(p.changes(self._kept[p.slot], control[p.slot]).max()) for p in self._judged})
        return self[prediction]


def measure_mixing(recording: Recording, deadline: float, settings: Settings) -> Mixing:
    """Samples that change each other in the data, and those that reach each other's predictions."""
    overwritten = overwritten_sample(recording)
    entry = next(iter(recording.loaders_of("train")), None)
    crossed = crossed_links(samples_of(entry), recording.tape, recording.frames) if entry is not None else None
    try:
        return replace(_in_the_step(recording, deadline), overwritten=overwritten, crossed=crossed)
    except CannotMeasureError:
        if overwritten is None and crossed is None:
            raise
        return Mixing(overwritten=overwritten, crossed=crossed)


def _in_the_step(recording: Recording, deadline: float) -> Mixing:
    """Exchange samples, then tokens, at the present weights.

    ``share`` is the largest change of another sample's prediction over the largest of the exchanged sample's own. Losses that compare
    samples by design are told by ``contrastive``; rows that a loop combines on purpose (mixup) are no mixing.
    """
    tape, backward = recording.tape, recording.tape_backward
    if tape is None or backward is None or recording.trust == "none":
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    exchange = Exchange(tape, backward, recording)
    judged = predictions(tape, exchange.samples)
    if not judged:
        msg = "no tensor that leads to the loss has one row a sample"
        raise CannotMeasureError(msg)
    slots = tuple(p.slot for p in judged)
    kept = exchange.begin(slots)
    noise = _Noise(exchange, judged, kept)
    across: _Across | None = None
    try:
        across = _across(exchange, judged, kept, noise, deadline)
    except CannotMeasureError as error:
        reason = str(error)
    leak = sees_next_token(exchange, judged, kept, noise, deadline)
    if across is None and leak is None:
        raise CannotMeasureError(reason)
    return _measurement(recording, exchange, across, leak, _placed(exchange, judged, kept, across, recording))


def _placed(
    exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor], across: _Across | None, recording: Recording
) -> Placed | None:
    """How predictions depend on the place, of samples that do not depend on each other."""
    if across is None or across.mixed or across.contrastive:
        return None
    try:
        return depends_on_place(exchange, judged, kept, recording)
    except CannotMeasureError:
        return None


def _measurement(recording: Recording, exchange: Exchange, across: _Across | None, leak: Leak | None, placed: Placed | None) -> Mixing:
    leaks = leak is not None and leak.share > NOISE
    operation = (leak.loss or leak.operation) if leak is not None and leaks else across.operation if across is not None else None
    return Mixing(
        across_samples=across.mixed or across.contrastive if across is not None else None,
        samples=exchange.samples,
        share=across.share if across is not None else 0.0,
        first_where=recording.frames.location(operation.place) if operation is not None else None,
        operation=operation.name.strip("_") if operation is not None else "",
        future_tokens=leaks if leak is not None else None,
        future_share=leak.share if leak is not None else 0.0,
        unshifted=leak is not None and leak.loss is not None,
        future_alone=leak is not None and leak.turned,
        contrastive=across is not None and across.contrastive,
        answered=across.answered if across is not None else None,
        place_share=placed.share if placed is not None else None,
        place_where=recording.frames.location(placed.operation.place) if placed is not None and placed.operation is not None else None,
        place_operation=placed.operation.name.strip("_") if placed is not None and placed.operation is not None else "",
    )


def _across(
    exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor], noise: dict[Prediction, float], deadline: float
) -> _Across:
    chosen = {0, 1, exchange.samples // 2, exchange.samples - 1}
    # Where others are left, what any of these does to a second one shows in them too: one run is enough to see that it does nothing.
    if 2 * len(chosen) <= exchange.samples and _are_apart(exchange, judged, kept, noise, chosen):
        return _Across(0.0)
    worst: dict[Prediction, tuple[float, int]] = {}
    for sample in sorted(chosen):
        after = exchange.without({sample}, tuple(kept))
        for prediction in judged:
            effects = _effects(exchange, prediction, kept, after, {sample})
            if effects is not None and max(effects) > noise[prediction]:
                share = _share(effects) if effects[1] > noise[prediction] else 0.0
                worst[prediction] = max(worst.get(prediction, (0.0, sample)), (share, sample))
        if time.monotonic() > deadline:
            break
    if not worst:
        msg = "no prediction changes with the input of its sample, or none can be told to belong to one"
        raise CannotMeasureError(msg)
    result = _Across(max(share for share, _ in worst.values()))
    for prediction, (share, sample) in worst.items():
        if share > NOISE:
            found = _explain(exchange, prediction, sample, kept)
            result = replace(result, contrastive=result.contrastive or found.contrastive)
            if found.mixed:
                return replace(found, share=share)
    return result


def _are_apart(
    exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor], noise: dict[Prediction, float], samples: set[int]
) -> bool:
    """Whether these samples, exchanged at once, change predictions of their own and of nobody else."""
    after = exchange.without(samples, tuple(kept))
    found = [(prediction, *(_effects(exchange, prediction, kept, after, samples) or (0.0, math.inf))) for prediction in judged]
    # Where nothing else moved at all, no second run is needed to know what is noise.
    limits = [noise[prediction] if others else 0.0 for prediction, _, others in found]
    apart = all(others <= most for (_, _, others), most in zip(found, limits, strict=True))
    return apart and any(own > most for (_, own, _), most in zip(found, limits, strict=True))


def _effects(
    exchange: Exchange, prediction: Prediction, kept: dict[int, Tensor], after: dict[int, Tensor], samples: set[int]
) -> tuple[float, float] | None:
    change = prediction.changes(kept[prediction.slot], after[prediction.slot])
    return prediction.effects(exchange, change, samples) or effects_by_rows(change, exchange.samples, samples)


def _share(effects: tuple[float, float]) -> float:
    own, others = effects
    return others / own if own else float(others > 0)


def _explain(exchange: Exchange, prediction: Prediction, sample: int, kept: dict[int, Tensor]) -> _Across:
    """Find the operation that mixes, and tell a slip from a design."""
    after: dict[int, Tensor] = {}
    spread = Spread(
        exchange.tape,
        exchange.samples,
        lambda observe: exchange.again((), observe),
        lambda observe: after.update(exchange.without({sample}, (prediction.slot,), observe)),
    )
    rows, reorder = allowed_rows(exchange.tape, spread, sample)
    change = prediction.changes(kept[prediction.slot], after[prediction.slot])
    if (other := answers_another(exchange, prediction, change, sample)) is not None:
        return _Across(operation=other[0], mixed=True, answered=(sample, other[1]))
    effects = effects_by_rows(change, exchange.samples, rows)
    if effects is not None and _share(effects) <= NOISE:
        return _misplaced(exchange, prediction, change, sample, reorder)
    op = spread.first_beyond(prediction.slot, among(rows))
    if op is None:
        msg = "samples depend on each other from the start of the recorded step"
        raise CannotMeasureError(msg)
    return _judge(exchange, prediction, op)


def _misplaced(exchange: Exchange, prediction: Prediction, change: Tensor, sample: int, reorder: Operation | None) -> _Across:
    """Find out whether the one row that each sample keeps to (or those it was mixed into by an index) is its target's."""
    effects = prediction.effects(exchange, change, {sample})
    if effects is None or not exchange.certain or (reorder is not None and effects[0] > NOISE * effects[1]):
        return _Across()
    if reorder is not None and takes_targets_along(exchange, reorder):
        return _Across()  # mixup with a share of next to nothing
    moves = [exchange.tape.operations[p] for p in exchange.tape.upstream(prediction.slot)]
    return _Across(operation=reorder or next((op for op in moves if op.name in MOVES), None), mixed=True)


def _judge(exchange: Exchange, prediction: Prediction, op: Operation) -> _Across:
    """Whether an operation that mixes samples does so by a slip. Raises CannotMeasureError where that cannot be told."""
    tape = exchange.tape
    learned = any(tape.operations[p].module is not None for s in op.inputs for p in tape.upstream(s))
    paired = prediction.target in exchange.labels
    square = _is_square(tape.shapes.get(op.outputs[0], ()) if op.outputs else (), exchange.samples)
    if _has_edges(exchange):
        msg = "the step is given links between rows, as in a graph, where mixing is meant"
        raise CannotMeasureError(msg)
    if op.module is None and learned and op.name not in MOVES and not (op.name in _NORMALISERS and prediction.classes and paired):
        return _Across(contrastive=True)  # the loss compares samples
    if op.name in _MATRIX_PRODUCTS and square and not paired:
        return _Across(contrastive=True)
    if op.module is None and not learned and op.name not in MOVES:
        msg = f"the loop combines samples before the model sees them ({op.name.strip('_')})"
        raise CannotMeasureError(msg)
    if op.name in _BY_INDEX:
        msg = f"rows are combined by an index ({op.name.strip('_')}), as in a graph, where that is meant"
        raise CannotMeasureError(msg)
    if prediction.call is None and op.name not in MOVES | _SEQUENCE_LAYERS:
        msg = f"samples meet in {op.name.strip('_')}, which may belong to the loss"
        raise CannotMeasureError(msg)
    if not exchange.certain and op.name not in MOVES and op.name not in _NORMALISERS:
        msg = "which axis of the batch counts the samples is not known without a DataLoader"
        raise CannotMeasureError(msg)
    return _Across(operation=op, mixed=True)


def _is_square(shape: Collection[int], samples: int) -> bool:
    """Whether a matrix compares samples with samples (or two views of each)."""
    sizes = list(shape)[-2:]
    return len(sizes) == 2 and all(s and s % samples == 0 for s in sizes)


def _has_edges(exchange: Exchange) -> bool:
    """Whether the step is given links between samples: a sparse or square matrix over them, or a list of pairs."""
    return any(
        t.layout is not torch.strided
        or tuple(t.shape) == (exchange.samples, exchange.samples)
        or (t.dim() == 2 and t.shape[0] == 2 and t.dtype is torch.long and exchange.samples != 2)
        for s, t in exchange.tape.outside.items()
        if s not in exchange.tape.parameters
    )
