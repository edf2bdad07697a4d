"""Trials of fixes to models that mix samples, or let a language model see later tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import Mixing
from trainlint.proof.changes import calls
from trainlint.proof.runs import Bench, Condition, compared, not_tried
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["sample_mixing"]

_RESHAPES = frozenset({"view", "reshape", "flatten"})


def sample_mixing(bench: Bench) -> Proof:
    """With a causal mask in attention, or samples moved to the first axis before the reshape that mixed them."""
    found = bench.measure(Mixing)
    if not isinstance(found, Mixing):
        return not_tried("where samples are mixed is not known")
    if found.unshifted:
        return not_tried("which token each prediction is to be compared with is for the loop to say")
    return _mixed_by_reshape(bench, found) if found.across_samples else _masked(bench)


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
        op = _reshape(bench, trial.tape, found)
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


def _reshape(bench: Bench, tape: Tape, found: Mixing) -> Operation | None:
    alike = [op for op in tape.operations if op.name == found.operation and op.name in _RESHAPES]
    placed = [op for op in alike if bench.recording.frames.location(op.place) == found.first_where]
    return next(iter(placed or alike), None)


def _sample_axis(tape: Tape, op: Operation, samples: int) -> int | None:
    """The one axis of the input, behind the first, that counts samples, where the result counts them on the first."""
    before, after = tape.shapes.get(op.inputs[0]), tape.shapes.get(op.outputs[0])
    if before is None or after is None or not after or after[0] != samples:
        return None
    axes = [a for a, size in enumerate(before) if size == samples]
    return axes[0] if len(axes) == 1 and axes[0] > 0 else None
