"""What the loss says of right and of wrong answers: a step is replayed with the output layer's scores set by the targets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainlint.location import Location
from trainlint.measurements import Answers
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.replay import Rehearsal, rehearsal
from trainlint.record.operation import Operation
from trainlint.record.parameters import owns_parameters
from trainlint.record.recording import Recording
from trainlint.record.snapshot import put, state_tensors
from trainlint.record.tape import Tape

__all__ = ["answers", "scores_of"]

#: Scores of clear and of slight answers, for and against the targets; 8 is a probability of 0.9997.
_SCORES = (-8.0, -1.0, 1.0, 8.0)
#: Operations that make something of raw scores, by name or by a part of it.
_TAKES_SCORES = frozenset({"exp", "erf", "tanh", "logsumexp", "logaddexp", "softplus", "normalize", "soft_margin_loss"})
_ACTIVATIONS = ("softmax", "sigmoid", "cross_entropy", "with_logits")
#: How far scores must leave [0, 1] to be none that an activation makes.
_OUTSIDE = 0.01


def answers(recording: Recording) -> Answers | None:
    """The losses of answers from all wrong to all right; weights are left as they are.

    None where no output layer stands beside targets of zeros and ones, or classes, and where the step cannot be replayed.
    """
    leaves = recording.tape.leaves.values() if recording.tape is not None else ()
    held = {id(t): t for t in (*state_tensors(recording.models()), *leaves) if not t.is_sparse}
    kept = [(t, t.detach().clone()) for t in held.values()]
    try:
        with rehearsal(recording) as trial:
            return _answers(trial)
    except (CannotMeasureError, RuntimeError, IndexError, ValueError, TypeError):
        return None  # the step is not trusted, or other scores lead it elsewhere
    finally:
        put(kept)


def _answers(trial: Rehearsal) -> Answers | None:
    tape = trial.tape
    made = scores_of(trial)
    if made is None:
        return None
    slot = made.outputs[0]
    given = trial.replay(grad=False, keep=(slot,)).get(slot)
    signs = _signs(tape, slot, given) if given is not None and given.is_floating_point() else None
    if given is None or signs is None:
        return None

    def loss(scores: Tensor) -> float:
        replaced = {slot: scores.to(given.dtype)}
        return float(tape.replay(replace=replaced, random_of=tape, grad=False)[tape.loss].sum()) / tape.scale

    zero_one = (signs + 1) / 2
    return Answers(
        scores=_SCORES,
        losses=tuple(loss(signs * score) for score in _SCORES),
        exact=loss(zero_one),
        inverse=loss(1 - zero_one),
        beyond=loss(3 * zero_one),
        activated=_is_activated(tape, slot),
        outside=bool(given.min() < -_OUTSIDE or given.max() > 1 + _OUTSIDE),
        where=_consumer(trial, tape, slot),
    )


def scores_of(trial: Rehearsal) -> Operation | None:
    """The last operation with a matrix or filter of weights; None where these are not trained, as of a model that is attacked."""
    trained = {id(t) for t in trial.leaves}
    for op in reversed(trial.tape.operations):
        weights = [t for s in op.inputs if isinstance(t := trial.tape.outside.get(s), nn.Parameter) and t.dim() > 1]
        if len(op.outputs) == 1 and weights:
            return op if any(id(t) in trained for t in weights) else None
    return None


def _signs(tape: Tape, slot: int, given: Tensor) -> Tensor | None:
    """1 where the one target says yes and -1 elsewhere, in the shape of the scores; None for other targets and where there are several."""
    inputs = {s for position in tape.upstream(slot) for s in tape.operations[position].inputs}
    leaves = [tape.outside[s] for s in dict.fromkeys(tape.batch.values()) if s not in inputs]  # what the scores are not made of
    if any(t.is_floating_point() and t.numel() and float(t.min()) < 0 for t in leaves):
        return None  # weights of samples, as the advantages of a policy, may make the right answer the one to avoid
    same = [t for t in leaves if t.numel() == given.numel() and t.shape[:1] == given.shape[:1]]
    classes = {axis: [t for t in leaves if _names_classes(t, given, axis)] for axis in (1, given.dim() - 1) if 0 < axis < given.dim()}
    several = {id(t) for found in classes.values() for t in found}
    if len(same) == 1 and not several:
        target = same[0].to(given.dtype).reshape(given.shape)
        if bool(((target == 0) | (target == 1)).all()) and 0 < float(target.mean()) < 1:
            return target * 2 - 1
        return None
    if same or len(several) != 1:
        return None
    axis = next(a for a, found in classes.items() if found)
    target, size = classes[axis][0], given.shape[axis]
    if int(target.min()) < 0 or int(target.max()) >= size or int(target.min()) == int(target.max()):
        return None
    shape = [n for a, n in enumerate(given.shape) if a != axis]
    return torch.nn.functional.one_hot(target.reshape(shape), size).movedim(-1, axis).to(given.dtype) * 2 - 1


def _names_classes(leaf: Tensor, given: Tensor, axis: int) -> bool:
    """Whether a leaf of the batch has a class index for each of the scores but for their class axis."""
    integer = not leaf.is_floating_point() and leaf.dtype is not torch.bool and not leaf.is_complex()
    return integer and given.shape[axis] > 1 and leaf.numel() * given.shape[axis] == given.numel() and leaf.shape[:1] == given.shape[:1]


def _is_activated(tape: Tape, slot: int) -> bool:
    """Whether what becomes of the scores passes an operation that takes raw ones."""
    after = {slot}
    for op in tape.operations:
        if any(s in after for s in op.inputs):
            if op.name.strip("_") in _TAKES_SCORES or any(word in op.name for word in _ACTIVATIONS):
                return True
            after.update(op.outputs)
    return False


def _consumer(trial: Rehearsal, tape: Tape, slot: int) -> Location | None:
    """Where the scores are first used outside of the model, or within it for more than another shape."""
    for _ in range(16):
        positions = tape.consumers(slot)
        op = tape.operations[positions[0]] if positions else None
        if op is None:
            return None
        inside = op.module is not None and owns_parameters(op.module)
        if not inside or op.name not in ("squeeze", "view", "reshape", "flatten", "contiguous", "float") or not op.outputs:
            return trial.recording.frames.location(op.place)
        slot = op.outputs[0]
    return None
