"""What no causal language model can fit of a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.step.sources import looked_up
from trainlint.record.operation import Ref

__all__ = ["next_token_floor"]

#: Share of the tokens read that must be the targets of the place before them, where a lookup is taken for the model's tokens.
_MATCH = 0.95


def next_token_floor(trial: Rehearsal, fill: dict[int, Tensor]) -> float:
    """Targets that differ after the same beginning, as the first token's do.

    The mean over scored positions of the entropy of the targets among samples with equal tokens so far; 0 for other tasks.
    """
    tape = trial.tape
    call = main_loss_call(tape)
    aim = call[1].argument(1, "target") if call is not None and call[1].name in ("cross_entropy", "nll_loss") else None
    if call is None or not isinstance(aim, Ref) or call[2].get("weight") is not None or str(call[2].get("reduction", "mean")) != "mean":
        return 0.0
    looked = [slot for op in tape.operations if (slot := looked_up(op, tape)) is not None]
    given = {**tape.outside, **fill}
    given |= trial.replay(fill, grad=False, keep=(aim.slot, *looked))
    target, ignored = given.get(aim.slot), int(call[2].get("ignore_index", -100))
    if target is None or target.is_floating_point():
        return 0.0
    target = target.cpu()
    pair = next(_read(_rows([given[s] for s in looked if s in given]), target, ignored), None)
    if pair is None:
        pair = next(_fitting(_rows([given[s] for s in tape.batch.values()]), target), None)
    if pair is None:
        return 0.0
    tokens, wanted = pair
    scored = wanted != ignored
    group = torch.zeros(len(tokens), dtype=torch.int64)
    total = 0.0
    for position in range(tokens.shape[1]):
        group = torch.unique(torch.stack([group, tokens[:, position].long()]), dim=1, return_inverse=True)[1]
        there = scored[:, position]
        kinds, counts = torch.unique(torch.stack([group[there], wanted[there, position].long()]), dim=1, return_counts=True)
        sizes = torch.zeros(len(tokens), dtype=torch.int64).index_add_(0, kinds[0], counts)[kinds[0]]
        total -= float((counts * (counts / sizes).log()).sum())
    return total / max(1, int(scored.sum()))


def _rows(tensors: list[Tensor]) -> list[Tensor]:
    return [t.cpu() for t in tensors if t.dim() == 2 and not t.is_floating_point() and t.shape[0] > 1]


def _fitting(rows: list[Tensor], target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and what is to follow each, both (B, T): as many tokens as targets, or one more place, which holds inputs and targets both."""
    yield from ((t, target.reshape(t.shape)) for t in rows if t.numel() == target.numel())
    yield from ((t[:, :-1], target.reshape(t[:, 1:].shape)) for t in rows if t[:, 1:].numel() == target.numel())


def _read(rows: list[Tensor], target: Tensor, ignored: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens that the model looks up, behind a first one that it may have been given, each the target of the place before it.

    Texts may lie along the first axis too: (T, B) is what a recurrent layer takes unless it is told otherwise.
    """
    turned = ((t.T, target.reshape(t.shape).T) for t in rows if t.numel() == target.numel())
    for tokens, wanted in itertools.chain(_fitting(rows, target), turned):
        same = (wanted[:, :-1] == tokens[:, 1:])[wanted[:, :-1] != ignored]
        if same.numel() and float(same.float().mean()) >= _MATCH:
            yield tokens, wanted
