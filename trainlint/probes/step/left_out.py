"""A class that the loss leaves out because it has the index that padding is filled up with.

``ignore_index`` is for positions that are to be nothing. Where it is the index of an output as well, real positions of that class are never
trained. Targets that say nothing on purpose (the further pieces of a word, tokens that are not masked, pixels that nobody labelled) look
much alike, and are told apart as far as they can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainlint.measurements import LeftOut
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.pads import Pads, filled_up
from trainlint.probes.step.predictions import Prediction
from trainlint.probes.step.sources import position_of, sample_of
from trainlint.record.recording import Recording

__all__ = ["left_out"]

#: Share of the padded positions whose target must be what the loss ignores, the fewest real positions, and those ignored between scored ones.
_FILLED, _LEAST, _BETWEEN = 0.95, 64, 8
#: Leading columns that may be marks without a tag, and the least share of rows that begin with the class.
_MARKS, _BEGIN = 2, 0.1
#: Share of the scored positions from which one token there is a mask that stands for others.
_MASK = 0.5
#: Stands for a position that the loss is not given.
_ABSENT = torch.iinfo(torch.int64).min


def left_out(recording: Recording, exchange: Exchange, judged: Sequence[Prediction], pads: Mapping[int, Pads]) -> LeftOut | None:
    """What the first loss over the classes of positions leaves out; None where that is no class, or is not given to real positions."""
    for prediction in judged:
        if prediction.call is None or not prediction.classes:
            continue
        op = exchange.tape.operations[prediction.call]
        given, named = exchange.tape.observed.get(prediction.call, ((), {}))
        target = given[1] if len(given) > 1 else named.get("target")
        shape, ignored = exchange.tape.shapes.get(prediction.slot, ()), op.argument(4, "ignore_index", -100)
        if op.name not in ("cross_entropy", "nll_loss") or len(shape) < 2 or not isinstance(target, Tensor) or target.is_floating_point():
            continue
        if not isinstance(ignored, int) or not 0 <= ignored < shape[1]:
            continue
        found = _of_tokens(exchange, prediction, target, ignored, shape[1], pads) or _of_pixels(exchange, target, ignored)
        if found is not None:
            share, positions, padding, pictures = found
            built = recording.places.get(id(op.module)) if op.module is not None and not op.module._modules else None
            return LeftOut(
                index=ignored,
                classes=shape[1],
                share=share,
                positions=positions,
                padding=padding,
                pictures=pictures,
                where=recording.frames.location(built or op.place),
            )
    return None


_Found = tuple[float, int, bool, bool]


def _of_tokens(
    exchange: Exchange, prediction: Prediction, target: Tensor, ignored: int, classes: int, pads: Mapping[int, Pads]
) -> _Found | None:
    """Of sequences that are filled up at their end: what is ignored of their tokens, some of it between two that are scored.

    A question before the answer, or a translation that is shorter than its text, is ignored at one end.
    """
    slot = next((s for s in pads if s in exchange.leaves and pads[s].side == "end"), None)
    ids = exchange.by_sample(slot, exchange.tensors[slot]) if slot is not None else None
    if slot is None or ids is None or ids.dim() != 2 or ids.is_floating_point() or classes > int(ids.max()):
        return None  # targets that are tokens themselves are those of a language model
    targets = _in_rows(exchange, prediction, target, ids)
    if targets is None:
        return None
    real = ~pads[slot].mask if pads[slot].masked else ids != int(pads[slot].value)
    given, dropped = targets != _ABSENT, targets == ignored
    scored = given & real & ~dropped
    between = dropped & real & (scored.cumsum(1) > 0) & (scored.flip(1).cumsum(1).flip(1) > 0)
    asked, padding = given & real, given & ~real
    if int(asked.sum()) < _LEAST or not bool(padding.any()) or float(dropped[padding].float().mean()) < _FILLED:
        return None
    if int(between.sum()) < _BETWEEN or not _begins(dropped, scored, real) or _is_mask(ids[scored]):
        return None
    return float(dropped[asked].float().mean()), int(asked.sum()), True, False


def _in_rows(exchange: Exchange, prediction: Prediction, target: Tensor, ids: Tensor) -> Tensor | None:
    """The targets that the loss was given as (samples, time)."""
    labels = exchange.labels.get(prediction.target if prediction.target is not None else -1)
    if labels is None or labels.shape != target.shape:
        return target.reshape(ids.shape).to(ids.device) if target.numel() == ids.numel() else None
    samples, positions = sample_of(labels), position_of(labels)
    known = (samples >= 0) & (positions >= 0) & (positions < ids.shape[1])
    rows = torch.full(ids.shape, _ABSENT, dtype=torch.int64, device=ids.device)
    rows[samples[known].to(ids.device), positions[known].to(ids.device)] = target.to(labels.device)[known].long().to(ids.device)
    return rows


def _begins(dropped: Tensor, scored: Tensor, real: Tensor) -> bool:
    """Whether some sequences begin with what is ignored, and others do not, behind a mark that all begin with.

    A sequence of words begins with the first piece of one, which has a tag; only a class of its own stands first in some and not in others.
    """
    for column in range(min(_MARKS + 1, dropped.shape[1])):
        rows = real[:, column]
        if bool(scored[rows, column].any()):
            return float(dropped[rows, column].float().mean()) >= _BEGIN
    return False


def _is_mask(ids: Tensor) -> bool:
    """Whether one token stands for what is asked for, as in a masked language model."""
    return bool(ids.numel()) and float((ids == torch.mode(ids).values).float().mean()) >= _MASK


def _of_pixels(exchange: Exchange, target: Tensor, ignored: int) -> _Found | None:
    """Of masks over pictures: what is ignored outside of what the pictures are filled up with."""
    for slot, tensor in exchange.leaves.items():
        picture = exchange.by_sample(slot, tensor)
        if picture is None or picture.dim() != 4 or exchange.axes.get(slot) != 0:
            continue
        for one in (picture, picture.movedim(-1, 1)):
            sizes = (len(one), *one.shape[2:])
            if (target.dim() == 1 and target.numel() == len(one) * one[0, 0].numel()) or target.shape == sizes:
                dropped = (target.reshape(sizes) == ignored).to(one.device)
                mask = filled_up(one)
                if mask is not None and float(dropped[mask].float().mean()) < _FILLED:
                    return None
                real = ~mask if mask is not None else torch.ones_like(dropped)
                return float(dropped[real].float().mean()), int(real.sum()), mask is not None, True
    return None
