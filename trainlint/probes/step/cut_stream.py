"""A stream of tokens that was cut so that what is read as time skips over most of it.

A next-token model over several columns of one stream reads down the columns; a column has to hold neighbours. ``stream.view(rows, columns)`` puts
neighbours side by side instead. What a token tells of the next one, by counts of pairs in every other row tried on the rest, says which way the stream runs:
down the columns, or along the rows and on into the next row, as no set of separate sequences does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainlint.location import Location
from trainlint.measurements import CutStream
from trainlint.record.operation import Ref
from trainlint.record.provenance import Making
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["cut_stream"]

_LOSSES = ("cross_entropy", "nll_loss")
_RESHAPES = ("reshape", "unflatten", "view")
#: Share of the targets that must be the next token, and how many must be told from the token itself; fewest rows and columns.
_MATCH, _TOLD, _SIDE = 0.95, 8, 4
#: Fewest tokens, and pairs from the end of a row to the beginning of the next, that are tried; most tokens that are looked at.
_TOKENS, _AROUND, _MOST = 2_000, 32, 100_000
#: Nats that a neighbour along the rows must tell; share of it that rows must keep from one to the next, and the most of that that columns may tell.
_TELLS, _GOES_ON, _DOWN = 0.2, 0.8, 0.6
#: Counts that a token's frequency weighs against those of its pairs; standard errors.
_PRIOR, _ERRORS = 4.0, 3.0

_Pairs = tuple[np.ndarray, np.ndarray]


def cut_stream(recording: Recording) -> CutStream | None:
    """What neighbours tell of each other along both axes, where only those along the rows do."""
    tape = recording.tape
    if tape is None:
        return None
    for slot, tokens, time in _tokens(tape):
        blocks = [_whole(_by_time(tokens, time))]
        if blocks[0].numel() < _TOKENS:
            blocks += [_by_time(t, time) for fill in recording.fills if (t := fill.get(slot)) is not None and t.shape == tokens.shape]
        told = _told(blocks)
        if told is not None and told.across >= _TELLS and told.around >= _GOES_ON * told.across and told.down <= _DOWN * told.around:
            shape = tuple(blocks[0].shape)
            where, whole = _reshaped(recording, tokens, shape)
            return CutStream(
                down=told.down,
                across=told.across,
                around=told.around,
                tokens=sum(b.numel() for b in blocks),
                columns=shape[1],
                shape=shape if whole else (),
                where=where or recording.frames.location(tape.place),
            )
    return None


def _tokens(tape: Tape) -> Iterator[tuple[int, Tensor, int]]:
    """Two-dimensional tokens whose next ones are the targets of a loss, with their slot and their axis of time."""
    targets = []
    for position, (given, named) in tape.observed.items():
        target = given[1] if len(given) > 1 else named.get("target")
        if tape.operations[position].name in _LOSSES and isinstance(target, Tensor) and not target.is_floating_point():
            targets.append(target)
    looked_up = [op.argument(0, "input") for op in tape.operations if op.name == "embedding"]
    slots = dict.fromkeys(ref.slot for ref in looked_up if isinstance(ref, Ref))
    for slot in slots if targets else ():
        shape = tape.shapes.get(slot, ())
        if len(shape) != 2 or min(shape) < _SIDE or not any(t.numel() == shape[0] * shape[1] for t in targets):
            continue
        made = tape.producers.get(slot)
        tokens = tape.outside[slot] if made is None else tape.replay(random_of=tape, grad=False, keep=(slot,), until=made)[slot]
        for target in targets:
            if target.numel() == tokens.numel() and tokens.layout is torch.strided:
                time = _time(tokens, target.to(tokens.device))
                if time is not None:
                    yield slot, tokens, time


def _time(tokens: Tensor, target: Tensor) -> int | None:
    """The one axis along which each target is the next token."""
    arranged = (target.reshape(tokens.shape), target.reshape(tokens.t().shape).t())
    found = {axis for axis in (0, 1) for y in arranged if _follows(_by_time(tokens, axis), _by_time(y, axis))}
    return found.pop() if len(found) == 1 else None


def _follows(tokens: Tensor, target: Tensor) -> bool:
    told = tokens[1:] != tokens[:-1]
    return int(told.sum()) >= _TOLD and float((target[:-1] == tokens[1:])[told].float().mean()) >= _MATCH


def _by_time(tensor: Tensor, axis: int) -> Tensor:
    return tensor if axis == 0 else tensor.t()


def _whole(tokens: Tensor) -> Tensor:
    """All rows of the table that (time, columns) are a stretch of, where they are a view of it; else these alone."""
    (down, across), (_, columns), offset = tokens.stride(), tokens.shape, tokens.storage_offset()
    size = tokens.untyped_storage().nbytes() // tokens.element_size()
    if across == 1 and down == columns:
        return tokens.as_strided(((size - offset % down) // down, columns), (down, 1), offset % down)
    begin = offset - offset % across if across else 0
    if down == 1 and across > tokens.shape[0] and begin + across * columns <= size:
        return tokens.as_strided((across, columns), (1, across), begin)
    return tokens


@dataclass(frozen=True)
class _Told:
    """Nats that a token tells of its neighbour, beyond how frequent that is."""

    down: float
    across: float
    around: float


def _told(tables: Sequence[Tensor]) -> _Told | None:
    """Counts of every other row, tried on the rest; None where there are too few."""
    rows = max(2, _MOST // tables[0].shape[1])
    held = [t[:rows].cpu().numpy() for t in tables]
    if sum(b.size for b in held) < _TOKENS:
        return None
    numbers = np.unique(np.concatenate([b.ravel() for b in held]), return_inverse=True)[1].ravel()
    blocks = [n.reshape(b.shape) for n, b in zip(np.split(numbers, np.cumsum([b.size for b in held])[:-1]), held, strict=True)]
    around = _joined([(b[1:-1:2, -1], b[2::2, 0]) for b in blocks])
    if len(around[0]) < _AROUND:
        return None
    # Pairs that begin in even rows are counted, and tried on those of odd ones: both see all of a text.
    down = [_joined([(b[i:-1:2].ravel(), b[i + 1 :: 2].ravel()) for b in blocks]) for i in (0, 1)]
    across = [_joined([(b[i::2, :-1].ravel(), b[i::2, 1:].ravel()) for b in blocks]) for i in (0, 1)]
    on = _gains(across[0], around)
    if on.mean() <= _ERRORS * on.std() / len(on) ** 0.5:
        return None
    return _Told(float(_gains(*down).mean()), float(_gains(*across).mean()), float(on.mean()))


def _joined(pairs: Sequence[_Pairs]) -> _Pairs:
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


def _gains(known: _Pairs, tried: _Pairs) -> np.ndarray:
    """For each pair that is tried the log of the probability of its second token by the counts of known pairs, less that by its frequency."""
    most = int(max(a.max() for a in (*known, *tried))) + 1
    alone = np.bincount(known[1], minlength=most)
    frequency = (alone[tried[1]] + 1.0) / (alone.sum() + most)
    codes, counts = np.unique(known[0] * most + known[1], return_counts=True)
    wanted = tried[0] * most + tried[1]
    at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    together = np.where(codes[at] == wanted, counts[at], 0)
    given = np.bincount(known[0], minlength=most)[tried[0]]
    gains: np.ndarray = np.log((together + _PRIOR * frequency) / ((given + _PRIOR) * frequency))
    return gains


def _reshaped(recording: Recording, tokens: Tensor, shape: tuple[int, ...]) -> tuple[Location | None, bool]:
    """The line that cut the stream, and whether it gave the whole table; where that is not seen, the line that cut what is in the same memory."""
    known = [*recording.provenance.sharing(tokens), (tokens, recording.provenance.of(tokens))]
    for tensor, making in sorted(known, key=lambda entry: sorted(entry[0].shape) != sorted(shape)):
        node: Making | None = making if tensor.dim() == 2 else None
        while node is not None and node.name not in _RESHAPES:
            node = node.parents[0] if node.parents else None
        if node is not None and node.place is not None:
            return recording.frames.location(node.place), sorted(tensor.shape) == sorted(shape)
    return None, False
