"""Networks that only make the targets of a loss, began with learned weights, and are trained along with what they teach."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from trainlint.measurements import MovingTargets
from trainlint.probes.run.pretrained import pretrained_parameters
from trainlint.record.operation import Operation, Ref
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.tape import Tape

__all__ = ["moving_targets", "still_targets"]

#: Losses whose second argument is the target by its meaning, and those that are the same either way round.
_DIRECTED = frozenset({"kl_div", "cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"})
_SYMMETRIC = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})


def moving_targets(recording: Recording) -> MovingTargets | None:
    """The first such network: all its ways to the loss lead through a target, and an optimizer steps it together with the other side."""
    stepped = {id(p) for o in recording.training for p in o.parameters}
    for backward, tape, op, ids, rest in _teachers(recording):
        moving = ids & backward.reached & stepped
        if moving == ids and (op.name in _DIRECTED or not rest & set(pretrained_parameters(recording))):
            return _described(recording, op, tape, moving)
    return None


def still_targets(recording: Recording) -> set[int]:
    """Ids of the parameters of networks with learned weights that make targets alone, and receive no gradient through them: teachers."""
    reached = {i for b in recording.backwards for i in b.reached}
    return {i for *_, ids, _ in _teachers(recording) for i in ids} - reached


def _teachers(recording: Recording) -> Iterator[tuple[Backward, Tape, Operation, set[int], set[int]]]:
    """Yield losses, the learned parameters whose only way to them is one argument, and those behind the rest, which receive gradients."""
    learned: set[int] | None = None
    for backward in recording.first_tapes:
        tape = backward.tape
        for op in tape.operations if tape is not None else ():
            if tape is None or op.name not in _DIRECTED | _SYMMETRIC:
                continue
            for position, name in ((1, "target"), (0, "input"))[: 1 if op.name in _DIRECTED else 2]:
                target = op.argument(position, name)
                if not isinstance(target, Ref):
                    continue
                rest = _behind(tape, tape.loss, around=(op, target.slot))
                ids = _behind(tape, target.slot) - rest
                if ids and rest & backward.reached:
                    learned = set(pretrained_parameters(recording)) if learned is None else learned
                    if ids <= learned:
                        yield backward, tape, op, ids, rest


def _behind(tape: Tape, slot: int, around: tuple[Operation, int] | None = None) -> set[int]:
    """Ids of the parameters that a slot depends on; ``around`` is an operation and the input of it that is not followed."""
    seen, found, queue = {slot}, set(), [slot]
    while queue:
        current = queue.pop()
        if isinstance(parameter := tape.outside.get(current), nn.Parameter):
            found.add(id(parameter))
        made = tape.producers.get(current)
        op = tape.operations[made] if made is not None else None
        for given in op.inputs if op is not None else ():
            if given not in seen and not (around is not None and op is around[0] and given == around[1]):
                seen.add(given)
                queue.append(given)
    return found


def _described(recording: Recording, op: Operation, tape: Tape, moving: set[int]) -> MovingTargets:
    calls = [c for c in recording.calls if c.trained and moving <= {id(p) for p in parameters_of(c.module)}]
    call = min(calls, key=lambda c: sum(1 for _ in parameters_of(c.module)), default=None)
    return MovingTargets(
        loss=op.name,
        parameters=tuple(n for n, *_, p in recording.named_parameters() if id(p) in moving),
        where=recording.frames.location(call.place if call is not None and call.place is not None else op.place),
    )
