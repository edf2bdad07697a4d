"""The trial of a fix to reshapes that were meant to swap axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import AxisOrder
from trainlint.probes.step.axes import Reordering
from trainlint.probes.step.axis_order import slips
from trainlint.proof.runs import Bench, Condition, compared, not_tried
from trainlint.record.operation import Operation

__all__ = ["axis_order"]


def axis_order(bench: Bench) -> Proof:
    """With axes swapped by transposing at every place that the finding names."""
    found = bench.measure(AxisOrder)
    places = {slip.where for slip in found.slips} if isinstance(found, AxisOrder) else set()
    with bench.rehearsal() as trial:
        wrong = {id(s.operation): s.instead for s in slips(trial.tape) if bench.recording.frames.location(s.operation.place) in places}
        if not wrong:
            return not_tried("which reshapes of the replayed step are to be changed is not known")

        def change(op: Operation) -> Operation:
            return replace(op, call=_swapping(wrong[id(op)])) if id(op) in wrong else op

        return compared(
            bench, trial, before=Condition(), after=Condition(change=change, judged=change), words="With axes swapped by transposing"
        )


def _swapping(instead: Reordering) -> Any:
    def swap(x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x.reshape(instead.opened).permute(instead.order).reshape(instead.closed)

    return swap
