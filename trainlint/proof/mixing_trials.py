"""Trials of fixes to models that mix samples, or let a language model see later tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import Mixing
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.training.regularisers import Change
from trainlint.proof.changes import calls
from trainlint.proof.runs import Bench, Condition, compared, not_tried
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["sample_mixing"]

_RESHAPES = frozenset({"view", "reshape", "flatten"})
_SOFTMAX = frozenset({"softmax", "log_softmax", "softmin"})
_ATTENTION = "multi_head_attention_forward"


def sample_mixing(bench: Bench) -> Proof:
    """With a causal mask in attention, or samples moved to the first axis before the reshape that mixed them."""
    found = bench.measure(Mixing)
    if not isinstance(found, Mixing):
        return not_tried("where samples are mixed is not known")
    if found.overwritten is not None:
        return not_tried("its fix lies in how samples are read, which a replayed training step does not touch")
    if found.unshifted:
        return not_tried("which token each prediction is to be compared with is for the loop to say")
    if found.answered is not None:
        return not_tried("into which order predictions are to be brought back is for the model to say")
    if not found.across_samples:
        return _masked(bench)
    name = found.operation.strip("_")
    if name in _SOFTMAX:
        return _along_positions(bench, found)
    return _batch_second(bench, found) if name == _ATTENTION else _mixed_by_reshape(bench, found)


def _along_positions(bench: Bench, found: Mixing) -> Proof:
    """With the softmax over the axis behind the samples, where it ran over the samples."""
    with bench.rehearsal() as trial:
        op = _placed(bench, trial.tape, found, _SOFTMAX)
        shape = trial.tape.shapes.get(op.inputs[0], ()) if op is not None else ()
        axis = op.argument(1, "dim") if op is not None else None
        if op is None or len(shape) < 2 or not isinstance(axis, int) or shape[axis] != found.samples or axis % len(shape):
            return not_tried(f"over which axis {found.operation} should run is not known")
        options = {k: v for k, v in op.kwargs.items() if k != "dim"}
        change: Change = lambda one: replace(one, args=op.args[:1], kwargs={**options, "dim": -1}) if one is op else one  # noqa: E731
        return _judged(bench, trial, change, f"With {op.name} over the last axis")


def _batch_second(bench: Bench, found: Mixing) -> Proof:
    """With samples where attention looks for them, on the second axis."""
    with bench.rehearsal() as trial:
        tape = trial.tape
        turned = [o for o in tape.operations if o.name == _ATTENTION and tape.shapes.get(o.inputs[0], ())[:1] == (found.samples,)]
        if not turned or any(o.argument(14, "key_padding_mask") is not None or o.argument(16, "attn_mask") is not None for o in turned):
            return not_tried("how attention should treat its axes is not known")

        def change(op: Operation) -> Operation:
            return replace(op, call=_turned(op.call)) if any(op is one for one in turned) else op

        return _judged(bench, trial, change, "With samples on the second axis in attention (batch_first=True)")


def _turned(call: Callable[..., Any]) -> Callable[..., Any]:
    def attend(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        given = {id(t): t.transpose(0, 1) for t in (query, key, value)}  # one tensor given three times stays one
        made, *rest = call(given[id(query)], given[id(key)], given[id(value)], *args, **kwargs)
        return made.transpose(0, 1), *rest

    return attend


def _judged(bench: Bench, trial: Rehearsal, change: Change, words: str) -> Proof:
    return compared(bench, trial, before=Condition(judged=change), after=Condition(change=change, judged=change), words=words)


def _masked(bench: Bench) -> Proof:
    with bench.rehearsal() as trial:
        masked = [op for op in trial.tape.operations if op.name in ("multi_head_attention_forward", "scaled_dot_product_attention")]
        if not masked:
            return not_tried("the attention is written by hand, so where its mask belongs is not known")

        def change(op: Operation) -> Operation:
            if op.name == "scaled_dot_product_attention":
                return replace(op, kwargs={k: v for k, v in op.kwargs.items() if k != "attn_mask"} | {"is_causal": True}, args=op.args[:3])
            if op.name == "multi_head_attention_forward":
                return replace(op, call=_with_mask(op.call))
            return op

        return compared(
            bench,
            trial,
            before=Condition(judged=change),
            after=Condition(change=change, judged=change),
            words="With a causal mask",
            measure="loss without a look at later tokens",
        )


def _with_mask(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function takes (length, batch, width), whatever the module's layout."""

    def masked(query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        length = query.shape[0]
        mask = torch.triu(query.new_full((length, length), float("-inf")), diagonal=1)
        return call(query, key, *args, **{**kwargs, "attn_mask": mask, "is_causal": False})

    return masked


def _mixed_by_reshape(bench: Bench, found: Mixing) -> Proof:
    with bench.rehearsal() as trial:
        op = _placed(bench, trial.tape, found, _RESHAPES)
        axis = _sample_axis(trial.tape, op, found.samples) if op is not None else None
        if op is None or axis is None:
            return not_tried(f"how {found.operation or 'the operation that mixes samples'} should treat its axes is not known")
        change = calls(op, lambda x, *shape, **kwargs: x.movedim(axis, 0).reshape(op.call(x, *shape, **kwargs).shape))
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(change=change, judged=change),
            words=f"With samples on the first axis before {op.name}",
        )


def _placed(bench: Bench, tape: Tape, found: Mixing, names: Collection[str]) -> Operation | None:
    """The operation that mixes samples, if it is one of these."""
    alike = [op for op in tape.operations if op.name == found.operation and op.name in names]
    placed = [op for op in alike if bench.recording.frames.location(op.place) == found.first_where]
    return next(iter(placed or alike), None)


def _sample_axis(tape: Tape, op: Operation, samples: int) -> int | None:
    """The one axis of the input, behind the first, that counts samples, where the result counts them on the first."""
    before, after = tape.shapes.get(op.inputs[0]), tape.shapes.get(op.outputs[0])
    if before is None or after is None or not after or after[0] != samples:
        return None
    axes = [a for a, size in enumerate(before) if size == samples]
    return axes[0] if len(axes) == 1 and axes[0] > 0 else None
