"""The passes over validation data between training steps, through a loader or by calls that the loop makes without one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from trainlint.measurements import ValidationPass
from trainlint.probes.run.eval_dropout import dropout_in_evaluation
from trainlint.record.recording import Recording
from trainlint.record.seen import Call

__all__ = ["validation_passes"]


def validation_passes(recording: Recording) -> Iterator[ValidationPass]:
    """Yield those through loaders in their order, then the others."""
    if not recording.backwards:
        return  # a run that ended in its first training batch has passes without a backward() too
    dropping = dropout_in_evaluation(recording)
    at = recording.frames.location
    for calls, batches in itertools.chain(_through_loaders(recording), _without(recording)):
        iteration = calls[0].iteration if calls[0].iteration is not None and calls[0].iteration.phase == "val" else None
        yield ValidationPass(
            where=at(calls[0].place),
            loop_where=at(iteration.place) if iteration is not None else None,
            training_mode=any(c.training and c.modules_on for c in calls) or all(c.training for c in calls),
            mode_matters=any(c.modules_on for c in calls),
            grad=any(c.grad for c in calls),
            dropout_where=at(dropping[1]) if dropping is not None and any(c.module is dropping[0].module for c in calls) else None,
            batches=batches,
            told_by_calls=iteration is None,
        )


def _through_loaders(recording: Recording) -> Iterator[tuple[list[Call], int]]:
    last = next((h.iteration for h in reversed(recording.happenings) if h.kind == "batch"), None)
    for entry in recording.loaders:
        for iteration in entry.iterations:
            broken_off = iteration is last and iteration.batches == 1 and recording.status != "ended"
            if iteration.phase == "val" and not broken_off and (calls := [c for c in recording.calls if c.iteration is iteration]):
                yield calls, iteration.batches


def _without(recording: Recording) -> Iterator[tuple[list[Call], int]]:
    """Calls of the trained model without gradients, or in evaluation mode, between steps: on tensors in hand, or on batches drawn by a function.

    What is called between all steps on other inputs each time belongs to the training, as guessing labels for unlabelled samples does.
    """
    trained = {id(c.module) for c in recording.calls if c.trained}
    if recording.own_loop or recording.turns > 1:
        return
    ends = [c.happening for c in recording.calls if c.trained]
    mine = [
        c for c in recording.calls
        if id(c.module) in trained and not c.trained and not (c.grad and c.training) and (c.iteration is None or c.iteration.phase == "train")
    ]  # fmt: skip
    groups = [list(g) for _, g in itertools.groupby(mine, key=lambda c: sum(end < c.happening for end in ends))]
    # One call before the first step may be a summary, or lazy layers that take their shapes.
    groups = [g for g in groups if len(g) > 1 or ends[:1] < [g[0].happening]]
    fed = {c.fed_from() for g in groups for c in g}
    constant = len(fed) == 1 and None not in fed and not fed & {c.fed_from() for c in recording.calls if c.trained}
    if 2 * len(groups) <= len(recording.steps) or constant:
        yield from ((g, len(g)) for g in groups)
