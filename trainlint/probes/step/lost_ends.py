"""End marks that the loss of a language model ignores because the same token fills sequences up.

A mask of the batch tells real tokens from padding. Where the last real token of sequences is what they are filled up with, it is their end mark; a
loss that is told nothing there, and of the token before it is, took it for padding.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainlint.measurements import LostEnds
from trainlint.probes.source.own_files import own_files
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.pads import Pads
from trainlint.probes.step.predictions import Prediction
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.recording import Recording

__all__ = ["lost_ends", "pad_is_end"]

#: Share of the targets that must be the next token, and the fewest of them; fewest sequences without an end, and their share.
_MATCH, _LEAST, _ROWS, _SHARE = 0.95, 8, 2, 0.5
#: What programs call the token that fills up, and the one that ends a text.
_PADS = frozenset({"pad", "pad_id", "pad_idx", "pad_token", "pad_token_id"})
_ENDS = frozenset({"eos", "eos_id", "eos_idx", "eos_token", "eos_token_id"})
#: Stands for a token that the loss is not asked for.
_ABSENT = torch.iinfo(torch.int64).min


def lost_ends(recording: Recording, exchange: Exchange, judged: Sequence[Prediction], pads: Mapping[int, Pads]) -> LostEnds | None:
    """The ends that no sequence is taught; None where some are, where sequences end otherwise, and where no mask says what is real."""
    for slot, padding in pads.items():
        ids = exchange.by_sample(slot, exchange.tensors[slot])
        if not padding.masked or slot not in exchange.leaves or ids is None or ids.dim() != 2:
            continue
        for prediction in judged:
            told = _told(exchange, prediction, ids)
            if told is not None:
                return _without_end(recording, exchange, prediction, ids, padding, told)
    return None


def _without_end(
    recording: Recording, exchange: Exchange, prediction: Prediction, ids: Tensor, padding: Pads, told: Tensor
) -> LostEnds | None:
    real, end = ~padding.mask.to(ids.device), ids == int(padding.value)
    if bool((real & end & (told == ids)).any()):
        return None
    places = torch.arange(ids.shape[1], device=ids.device)
    last = torch.where(real, places, -1).amax(1)
    rows = torch.arange(len(ids), device=ids.device)[last >= 1]
    last = last[rows]
    lost = (
        end[rows, last]
        & (told[rows, last] != ids[rows, last])
        & (told[rows, last] != _ABSENT)
        & (told[rows, last - 1] == ids[rows, last - 1])
    )
    count = int(lost.sum())
    if count < _ROWS or count < _SHARE * len(ids):
        return None
    op = exchange.tape.operations[prediction.call or 0]
    place = pad_is_end(recording)
    loaded = any(id(m) in recording.loaded for model in recording.models() for m in model.modules())
    return LostEnds(
        token=int(padding.value),
        sequences=count,
        of=len(ids),
        pretrained=loaded,
        set_where=recording.frames.location(place),
        where=recording.frames.location(op.place),
    )


def _told(exchange: Exchange, prediction: Prediction, ids: Tensor) -> Tensor | None:
    """What the loss is told of each token, in its place: (samples, time); None where targets are not the tokens that follow."""
    if prediction.call is None or not prediction.classes:
        return None
    op = exchange.tape.operations[prediction.call]
    given, named = exchange.tape.observed.get(prediction.call, ((), {}))
    target = given[1] if len(given) > 1 else named.get("target")
    if not isinstance(target, Tensor) or target.is_floating_point():
        return None
    ignored = op.argument(4, "ignore_index", -100)
    count, length = ids.shape
    for width in (length - 1, length):
        if target.numel() != count * width:
            continue
        held, tokens = target.reshape(count, width)[:, : length - 1].to(ids.device), ids[:, 1:]
        asked = held != ignored
        if int(asked.sum()) >= _LEAST and float((held == tokens)[asked].float().mean()) >= _MATCH:
            told = torch.full_like(ids, _ABSENT, dtype=torch.int64)
            told[:, 1:] = torch.where(asked, held, -1)
            return told
    return None


def pad_is_end(recording: Recording) -> Place | None:
    """The line of the user's code that makes a tokenizer's end mark its padding; None where none is seen."""
    for name in own_files(recording.frames, sys.modules):
        tree = source_tree(name)
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.expr | ast.stmt) and _joins(node):
                return (name, node.lineno, "<module>")
    return None


def _joins(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        targets = [
            t.attr if isinstance(t, ast.Attribute) else t.id.lower() for t in node.targets if isinstance(t, ast.Attribute | ast.Name)
        ]
        return any(t in _PADS for t in targets) and _is_end(node.value)
    if isinstance(node, ast.Call):
        pairs = [
            (k.value, v)
            for a in node.args
            if isinstance(a, ast.Dict)
            for k, v in zip(a.keys, a.values, strict=True)
            if isinstance(k, ast.Constant)
        ]
        return any(key == "pad_token" and _is_end(value) for key, value in pairs)
    return False


def _is_end(value: ast.expr) -> bool:
    name = value.attr if isinstance(value, ast.Attribute) else value.id.lower() if isinstance(value, ast.Name) else ""
    return name in _ENDS
