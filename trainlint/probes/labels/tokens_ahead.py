"""Whether a model that is to predict the token after those that it sees is asked for a later one.

Single tokens are disturbed, and the nearest target whose prediction changes is looked for: it is the next token where targets are shifted once.
Where neighbouring tokens all reach no nearer than the second after them, the one between is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from trainlint.measurements import TokensAhead
from trainlint.probes.data.made import made_at
from trainlint.probes.data.split_samples import root_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.given_away import picked_at
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.next_token import answers_of
from trainlint.probes.step.predictions import Prediction, predictions
from trainlint.probes.step.sources import Source, looked_up, position_of
from trainlint.record.frames import Place
from trainlint.record.operation import Operation
from trainlint.record.recording import Recording

__all__ = ["tokens_ahead"]

#: Furthest place ahead at which targets are looked for in the batch.
_FURTHEST = 4


def tokens_ahead(recording: Recording, deadline: float) -> TokensAhead | None:
    """Of a step whose every class loss asks for tokens of its own input, equally far ahead; None where one asks for the next token."""
    tape, backward = recording.tape, recording.tape_backward
    if tape is None or backward is None or recording.trust == "none" or not any(looked_up(op, tape) is not None for op in tape.operations):
        return None
    try:
        exchange = Exchange(tape, backward, recording)
        judged = [p for p in predictions(tape, exchange.samples) if p.classes]
        kept = exchange.begin(tuple(p.slot for p in judged))
        found: list[tuple[Prediction, Tensor, int]] = []
        for prediction in judged:
            for source in exchange.sources:
                answers = answers_of(exchange, prediction, source, _FURTHEST) if source.made else None
                ahead = _ahead(exchange, prediction, source, answers, kept[prediction.slot], deadline) if answers is not None else None
                if answers is not None and ahead is not None:
                    found.append((prediction, answers, ahead))
                    break
            else:
                return None  # what this loss asks for may be the next token
    except CannotMeasureError:
        return None
    if not found or len({ahead for *_, ahead in found}) > 1:
        return None
    prediction, answers, ahead = found[0]
    return _found(recording, exchange, prediction, answers, ahead)


def _ahead(exchange: Exchange, prediction: Prediction, source: Source, answers: Tensor, before: Tensor, deadline: float) -> int | None:
    """Places from a token to the nearest target whose prediction depends on it, 2 or more; None where that is less or differs by place.

    Neighbouring tokens tell targets that are left out by a mask, or asked for in blocks, from targets that lie too far ahead.
    """
    known = position_of(source.labels)
    first, length = int(known.min()), int(known.max()) - int(known.min()) + 1
    noise = 10 * float(prediction.changes(before, exchange.again((prediction.slot,))[prediction.slot]).max())
    found: set[int] = set()
    for position in sorted({first + length * part // 4 + step for part in (1, 2) for step in (0, 1)}):
        change = prediction.changes(before, exchange.disturbed(source.leaf, position, (prediction.slot,))[prediction.slot])
        if change.shape != answers.shape or time.monotonic() > deadline:
            return None
        reached = answers[(change > noise) & (answers >= 0)]
        if not reached.numel():
            return None
        found.add(int(reached.min()) - position)
        if min(found) < 2 or len(found) > 1:
            return None
    return found.pop() if found else None


def _found(recording: Recording, exchange: Exchange, prediction: Prediction, answers: Tensor, ahead: int) -> TokensAhead:
    target = prediction.target if prediction.target is not None else -1
    labels = exchange.labels.get(target)
    if labels is None or labels.shape != answers.shape:
        return TokensAhead(ahead=ahead, where=recording.frames.location(_call(exchange, prediction).place))
    asked = answers >= 0
    in_data = int((answers - position_of(labels))[asked].max())
    moves = list(_moves(exchange, target))
    origin = exchange.origin[target]
    path = next((p for p, slot in exchange.tape.batch.items() if slot == origin), "")
    place = moves[0].place if moves else _call(exchange, prediction).place
    return TokensAhead(
        ahead=ahead,
        in_data=in_data,
        moves=len(moves) + (in_data > 0),
        where=recording.frames.location((_in_data(recording, path) if in_data else None) or place),
        path=path,
    )


def _call(exchange: Exchange, prediction: Prediction) -> Operation:
    return exchange.tape.operations[prediction.call or 0]


def _moves(exchange: Exchange, target: int) -> Iterator[Operation]:
    """Yield the operations that leave out the first places that were left of the targets, in order."""
    tape, way, slot = exchange.tape, list[tuple[int, Operation]](), target
    while slot in tape.producers and slot != exchange.origin[target]:
        op = tape.operations[tape.producers[slot]]
        before = next((s for s in op.inputs if s in exchange.labels), None)
        if before is None:
            break
        way.append((slot, op))
        slot = before
    first = _first(exchange, slot)
    for made, op in reversed(way):
        now = _first(exchange, made)
        if now > first:
            yield op
        first = now


def _first(exchange: Exchange, slot: int) -> int:
    where = position_of(exchange.labels[slot])
    return int(where[where >= 0].min()) if bool((where >= 0).any()) else torch.iinfo(torch.int64).max


def _in_data(recording: Recording, path: str) -> Place | None:
    """The line of the dataset's own that picks the targets, else the one that made them."""
    backward = recording.tape_backward
    iteration = backward.batch.iteration if backward is not None and backward.batch is not None else None
    if iteration is None:
        return None
    dataset, _ = root_of(iteration.loader.loader.dataset, [0])
    picked = picked_at(dataset, path)
    if picked is not None and recording.frames.is_user(picked[0]):
        return picked
    return made_at(recording, iteration.loader).get(path) or recording.dataset_place(iteration.loader)
