"""What no language model can fit of a batch: the tokens that begin a text, and those that follow the same beginning in several ways."""

from __future__ import annotations

import torch
from torch import Tensor

from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.step.replay import Rehearsal
from trainlint.record.operation import Ref

__all__ = ["next_token_floor"]


def next_token_floor(trial: Rehearsal, fill: dict[int, Tensor]) -> float:
    """What no causal language model can fit of a batch: targets that differ after the same beginning, as the first token's do.

    The mean over scored positions of the entropy of the targets among samples with equal tokens so far; 0 for other tasks.
    """
    tape = trial.tape
    call = main_loss_call(tape)
    aim = call[1].argument(1, "target") if call is not None and call[1].name in ("cross_entropy", "nll_loss") else None
    if call is None or not isinstance(aim, Ref) or call[2].get("weight") is not None or str(call[2].get("reduction", "mean")) != "mean":
        return 0.0
    batch = {**{slot: tape.outside[slot] for slot in tape.batch.values()}, **fill}
    rows = [t for t in batch.values() if t.dim() == 2 and not t.is_floating_point() and t.shape[0] > 1]
    if not rows:
        return 0.0
    target = trial.replay(fill, grad=False, keep=(aim.slot,)).get(aim.slot, fill.get(aim.slot, tape.outside.get(aim.slot)))
    if target is None or target.is_floating_point():
        return 0.0
    pair = next((p for t in rows if (p := _tokens_and_next(t.cpu(), target.cpu())) is not None), None)
    if pair is None:
        return 0.0
    tokens, wanted = pair
    scored = wanted != int(call[2].get("ignore_index", -100))
    group = torch.zeros(len(tokens), dtype=torch.int64)
    total = 0.0
    for position in range(tokens.shape[1]):
        group = torch.unique(torch.stack([group, tokens[:, position].long()]), dim=1, return_inverse=True)[1]
        there = scored[:, position]
        kinds, counts = torch.unique(torch.stack([group[there], wanted[there, position].long()]), dim=1, return_counts=True)
        sizes = torch.zeros(len(tokens), dtype=torch.int64).index_add_(0, kinds[0], counts)[kinds[0]]
        total -= float((counts * (counts / sizes).log()).sum())
    return total / max(1, int(scored.sum()))


def _tokens_and_next(tokens: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """Tokens and what is to come after each, both (B, T), from a tensor of tokens and the targets of a loss; None when they do not fit.

    The tensor may hold the targets too, one place further on, and sequences may lie along either axis: (T, B) is a recurrent layer's default.
    """
    if tokens.numel() == target.numel():
        wanted = target.reshape(tokens.shape)
        return (tokens.T, wanted.T) if _leads(tokens, wanted) and not _leads(tokens.T, wanted.T) else (tokens, wanted)
    if tokens[1:].numel() == target.numel() and torch.equal(tokens[1:], target.reshape(tokens[1:].shape)):
        return tokens[:-1].T, tokens[1:].T
    return (tokens[:, :-1], target.reshape(tokens[:, 1:].shape)) if tokens[:, 1:].numel() == target.numel() else None


def _leads(tokens: Tensor, wanted: Tensor) -> bool:
    """Whether what is wanted is the next token along the first axis."""
    return len(tokens) > 1 and torch.equal(wanted[:-1], tokens[1:])
