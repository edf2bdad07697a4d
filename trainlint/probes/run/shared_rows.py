"""Frozen embeddings in which many words that the data uses have one vector between them, so that they cannot be told apart, now or later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainlint.measurements import SharedRows
from trainlint.probes.source.unfreezing import unfrozen_later
from trainlint.record.frames import Place
from trainlint.record.operation import Operation, Ref
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["shared_rows"]

_LOOK_UPS = ("embedding", "embedding_bag")
#: Times that a word must occur in the recorded batches, and words that there must be of both sorts.
_OFTEN, _WORDS = 5, 5
#: Share of the words with a vector of their own among those that do not have the one that most share; a table of groups has fewer.
_OWN = 0.9


def shared_rows(recording: Recording) -> SharedRows | None:
    """The first frozen table with such words among those that training batches use often."""
    for backward in recording.first_tapes:
        tape = backward.tape
        for op in tape.operations if tape is not None else ():
            table = _table(tape, op) if tape is not None and op.name in _LOOK_UPS else None
            if tape is None or table is None or table.requires_grad or table.dim() != 2:
                continue
            found = _shared(table, _often(recording, tape, op))
            if found is None or _learns_elsewhere(tape, op) or unfrozen_later(recording.frames, {id(table)}) is not None:
                continue
            name = next((n for n, *_, p in recording.named_parameters() if p is table), "")
            return SharedRows(
                name=name, words=found[0], used=found[1], zeros=found[2], where=recording.frames.location(_built(recording, table))
            )
    return None


def _table(tape: Tape, op: Operation) -> Tensor | None:
    weight = op.argument(1, "weight")
    return tape.outside.get(weight.slot) if isinstance(weight, Ref) else None


def _words(op: Operation) -> int | None:
    """The slot of what is looked up."""
    words = op.argument(0, "input")
    return words.slot if isinstance(words, Ref) else None


def _learns_elsewhere(tape: Tape, op: Operation) -> bool:
    """Whether the same words are looked up in a table that learns, too."""
    others = [o for o in tape.operations if o.name in _LOOK_UPS and o is not op and _words(o) == _words(op)]
    return any((table := _table(tape, o)) is not None and table.requires_grad for o in others)


def _often(recording: Recording, tape: Tape, op: Operation) -> list[int]:
    """Words that occur often in the recorded training batches."""
    counts: Counter[int] = Counter()
    for words in _looked_up(recording, tape, op):
        if not words.is_floating_point():
            values, numbers = words.detach().unique(return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return [word for word, number in counts.items() if number >= _OFTEN]


def _looked_up(recording: Recording, tape: Tape, op: Operation) -> Iterator[Tensor]:
    slot = _words(op)
    path = next((p for p, s in tape.batch.items() if s == slot), None)
    if path is not None:
        training = [b for b in recording.batches if b.iteration is None or b.iteration.phase == "train"]
        yield from (b.leaves[path] for b in training if path in b.leaves)
    elif slot in tape.outside:
        yield tape.outside[slot]


def _shared(table: Tensor, words: list[int]) -> tuple[int, int, bool] | None:
    """``(words with one vector between them, words used often, whether it is zero)``; None where they are few, or the others share as well."""
    words = [word for word in words if 0 <= word < len(table)]
    if len(words) < 2 * _WORDS:
        return None
    rows, counts = table.detach()[torch.tensor(words, device=table.device)].unique(dim=0, return_counts=True)
    most = int(counts.argmax())
    together, others = int(counts[most]), len(words) - int(counts[most])
    if min(together, others) < _WORDS or len(rows) - 1 < _OWN * others:
        return None
    return together, len(words), not bool(rows[most].any())


def _built(recording: Recording, table: Tensor) -> Place | None:
    """Where the table is frozen: where it is built from values, which freezes it unless told otherwise, or else where ``requires_grad`` was set."""
    owners = [
        m for model in recording.models() for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.weight is table
    ]
    built = next((place for m in owners if (place := recording.places.get(id(m))) is not None), None)
    line = recording.frames.location(built)
    return built if line is None or "from_pretrained" in line.text else recording.frozen_at or built
