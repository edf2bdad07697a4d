"""Whether a model that predicts the next token can see it.

A next-token model is known by its targets: they are the input's tokens, one further on. The embedding of one position is disturbed,
and no prediction of that token or an earlier one may change. Where targets are the input's tokens as they stand, it is known by its
masks: no prediction depends on a later token. Its targets were not shifted then, and each prediction is of the token it was given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.predictions import Prediction
from trainlint.probes.step.sources import Source, position_of
from trainlint.probes.step.spread import NOISE, Spread
from trainlint.record.operation import Operation

__all__ = ["Leak", "answers_of", "sees_next_token"]

#: Share of targets that must be the next token, and how many must be told from their neighbour for that to mean something.
_MATCH, _LEAST = 0.95, 8


@dataclass(frozen=True)
class Leak:
    """How much of the next token a prediction sees."""

    share: float
    """Largest change of a prediction that must not change over the largest of those that may."""
    operation: Operation | None = None
    """First operation whose output at one position depends on later ones."""
    loss: Operation | None = None
    """The loss, where it compares each prediction with the token that it was made from: targets were not shifted."""
    turned: bool = False
    """Predictions depend on later tokens alone, beside the one that was read last: the mask is the wrong way round."""


def sees_next_token(
    exchange: Exchange, judged: list[Prediction], kept: dict[int, Tensor], noise: dict[Prediction, float], deadline: float
) -> Leak | None:
    """Disturb single positions of the tokens; None when this is no next-token model. Changes below ``noise`` are none."""
    for prediction in judged:
        for source in exchange.sources:
            answers = answers_of(exchange, prediction, source) if source.made and prediction.classes else None
            if answers is not None:
                alike = [s for s in exchange.sources if s.made and s.leaf == source.leaf]
                if len({bool((position_of(s.labels) == answers.max()).any()) for s in alike}) > 1:
                    return None  # an encoder reads the whole sentence, for a decoder that is to restore it
                shifted = int(answers[answers >= 0].min()) > 0 or all(_behind_a_first(s, answers) for s in alike)
                measure = _leak if shifted else _copy
                try:
                    return measure(exchange, prediction, source, answers, kept[prediction.slot], noise[prediction], deadline)
                except CannotMeasureError:
                    return None
    return None


def answers_of(exchange: Exchange, prediction: Prediction, source: Source, furthest: int = 1) -> Tensor | None:
    """For each scored target its position among the input's tokens, -1 where not scored; None when targets are other tokens.

    The batch may hold targets that are the input's tokens up to ``furthest`` places ahead. The first token is asked for only where targets
    were not shifted.
    """
    tokens = _by_time(exchange, source.leaf)
    if tokens is None or tokens.shape[1] < 4 or prediction.call is None:
        return None
    op = exchange.tape.operations[prediction.call]
    observed, named = exchange.tape.observed.get(prediction.call, ((), {}))
    scored: Any = observed[1] if len(observed) > 1 else named.get("target")
    if not isinstance(scored, Tensor) or scored.is_floating_point():
        return None
    ignored = op.argument(4, "ignore_index", -100)
    told = tokens[:, 1:] != tokens[:, :-1]
    for held, positions in _arrangements(exchange, prediction, scored, tokens):
        counted = held != ignored
        positions = torch.where(scored.to(positions.device) != ignored, positions, -1)
        if _agrees(held[:, 1:] == tokens[:, 1:], counted[:, 1:] & told):
            # The same tokens: the next ones when the loop or the model shifts them, so that the first is never asked for.
            return positions if bool((positions >= 0).any()) else None
        for ahead in range(1, min(furthest, tokens.shape[1] - 2) + 1):
            if _agrees(held[:, :-ahead] == tokens[:, ahead:], counted[:, :-ahead] & told[:, ahead - 1 :]):
                return torch.where(positions >= 0, positions + ahead, -1)
    return None


def _behind_a_first(source: Source, answers: Tensor) -> bool:
    """Whether the tokens are read one place later than they are asked for, behind one that is not of the batch (``<s>``)."""
    read = position_of(source.labels)
    if read.numel() != answers.numel() or int(read.min()) != -1:
        return False
    asked = answers.reshape(read.shape).to(read.device)
    return bool(((asked == read + 1) | (asked < 0)).all())


def _arrangements(exchange: Exchange, prediction: Prediction, scored: Tensor, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Ways to see the targets as (samples, time): these, and the time index of each element that the loss scores."""
    target = prediction.target if prediction.target is not None else -1
    labels = exchange.labels.get(target)
    if labels is not None and labels.shape == scored.shape:
        held = _by_time(exchange, exchange.origin[target])
        if held is not None and held.shape == tokens.shape:
            yield held, position_of(labels)
    elif scored.numel() == tokens.numel():
        times = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        yield scored.reshape(tokens.shape).to(tokens.device), times.reshape(scored.shape)
        yield scored.reshape(tokens.t().shape).t().to(tokens.device), times.t().reshape(scored.shape)


def _by_time(exchange: Exchange, slot: int) -> Tensor | None:
    """A (samples, time) view of a batch tensor of integers."""
    tensor = exchange.tensors.get(slot)
    if tensor is None or tensor.dim() != 2 or tensor.is_floating_point() or slot not in exchange.axes:
        return None
    return tensor if exchange.axes[slot] == 0 else tensor.t()


def _agrees(equal: Tensor, where: Tensor) -> bool:
    return int(where.sum()) >= _LEAST and float(equal[where].float().mean()) >= _MATCH


def _leak(
    exchange: Exchange, prediction: Prediction, source: Source, answers: Tensor, before: Tensor, noise: float, deadline: float
) -> Leak | None:
    known = position_of(source.labels)
    first, length = int(known.min()), int(known.max()) - int(known.min()) + 1
    worst: tuple[float, int] | None = None
    turned = True
    for position in sorted({first + length * part // 4 for part in (1, 2, 3)}):
        after = exchange.disturbed(source.leaf, position, (prediction.slot,))[prediction.slot]
        change = prediction.changes(before, after)
        if change.shape != answers.shape:
            return None
        past = change[answers > position + 1]
        turned &= bool(past.numel()) and float(past.max()) <= noise
        own, future = change[answers > position], change[(answers >= 0) & (answers <= position)]
        largest = float(own.max()) if own.numel() else 0.0
        seen = float(future.max()) if future.numel() else 0.0
        if max(largest, seen) > noise:
            worst = max(worst or (0.0, position), ((seen / largest if largest else 1.0) if seen > noise else 0.0, position))
        if time.monotonic() > deadline:
            break
    if worst is None:
        return None
    share, position = worst
    if share <= NOISE:
        return Leak(share)
    return Leak(share, _first_to_look_ahead(exchange, prediction, source, position - first, length), turned=turned)


def _copy(
    exchange: Exchange, prediction: Prediction, source: Source, answers: Tensor, before: Tensor, noise: float, deadline: float
) -> Leak | None:
    """Targets are the input as it stands: a slip where predictions depend on no later token; else the model is to restore its input."""
    known = position_of(source.labels)
    first, length = int(known.min()), int(known.max()) - int(known.min()) + 1
    shares: list[float] = []
    for position in sorted({first + length * part // 4 for part in (1, 2, 3)}):
        after = exchange.disturbed(source.leaf, position, (prediction.slot,))[prediction.slot]
        change = prediction.changes(before, after)
        earlier = change[(answers >= 0) & (answers < position)] if change.shape == answers.shape else change
        if not earlier.numel() or float(earlier.max()) > noise:
            return None
        own, largest = float(change[answers == position].max()), float(change[answers >= position].max())
        if own <= noise:
            return None
        shares.append(own / largest)
        if time.monotonic() > deadline:
            break
    return Leak(max(shares), loss=exchange.tape.operations[prediction.call or 0])


def _first_to_look_ahead(exchange: Exchange, prediction: Prediction, source: Source, index: int, length: int) -> Operation | None:
    spread = Spread(
        exchange.tape,
        length,
        lambda observe: exchange.again((), observe),
        lambda observe: exchange.disturbed(source.leaf, index + int(position_of(source.labels).min()), (), observe),
    )
    return spread.first_beyond(prediction.slot, lambda numbers: numbers >= index)
