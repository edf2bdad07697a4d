"""Whether a contrastive loss pulls together the two views of a sample, or rows of other samples.

Samples are exchanged one by one, and the two rows of scores that change as a whole are the views of that sample, in whatever order they were joined.
"""

from __future__ import annotations

import ast
import time

import torch

from trainlint.measurements import ViewPairs
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.source.scopes import calls_at, scope_at, set_last
from trainlint.probes.step.exchange import Exchange
from trainlint.record.frames import Place
from trainlint.record.operation import Operation, Ref
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["view_pairs"]

#: Samples that are exchanged, the fewest that tell, and how far the two rows of one stand out.
_SAMPLES, _FEWEST, _CLEAR = 8, 4, 5.0
_LOSSES = ("cross_entropy", "nll_loss")


def view_pairs(recording: Recording, deadline: float) -> ViewPairs | None:
    """Of a loss over all pairs of twice as many rows as there are samples, whose targets are fixed; None for all others."""
    tape, backward = recording.tape, recording.tape_backward
    found = _pairs_loss(tape) if tape is not None and recording.trust != "none" else None
    if tape is None or backward is None or found is None:
        return None
    op, scores, targets = found
    try:
        exchange = Exchange(tape, backward, recording)
        if not exchange.certain or 2 * exchange.samples != len(targets):
            return None
        before = exchange.begin((scores,))[scores]
        looked_at, apart, example = 0, 0, (0, 0, 0)
        for sample in range(min(_SAMPLES, exchange.samples)):
            changes = (exchange.without([sample], (scores,))[scores] - before).abs().float().median(dim=1).values
            largest = changes.topk(3)
            if time.monotonic() > deadline or not bool(largest.values[1] > _CLEAR * largest.values[2]):
                continue
            one, two = sorted(largest.indices[:2].tolist())
            asked = targets[one], targets[two]
            looked_at += 2
            apart += (asked[0] not in (one, two)) + (asked[1] not in (one, two))
            if asked[0] not in (one, two):
                example = (one, two, asked[0])
    except CannotMeasureError:
        return None
    if looked_at < 2 * _FEWEST:
        return None
    return ViewPairs(looked_at, apart, len(targets), *example, where=recording.frames.location(_made_at(op.place) or op.place))


def _pairs_loss(tape: Tape) -> tuple[Operation, int, list[int]] | None:
    """A loss over square scores whose targets do not depend on the batch, with the slot of its scores."""
    constants = tape.constants
    for op in tape.operations:
        scores, target = op.argument(0, "input"), op.argument(1, "target")
        if op.name not in _LOSSES or not isinstance(scores, Ref) or not isinstance(target, Ref) or target.slot not in constants:
            continue
        fixed, shape = constants[target.slot], tape.shapes.get(scores.slot, ())
        if len(shape) == 2 and shape[0] == shape[1] and tuple(fixed.shape) == shape[:1] and fixed.dtype is torch.long:
            return op, scores.slot, fixed.tolist()
    return None


def _made_at(place: Place | None) -> Place | None:
    """The line that sets the variable which the loss is given as its target."""
    scope = scope_at(place, []) if place is not None else None
    for call in calls_at(scope, place[1]) if scope is not None and place is not None else ():
        given = next((k.value for k in call.keywords if k.arg == "target"), call.args[1] if len(call.args) > 1 else None)
        if (
            scope is not None
            and place is not None
            and isinstance(given, ast.Name)
            and (value := set_last(scope, given, place[1])) is not None
        ):
            return place[0], value.lineno, place[2]
    return None
