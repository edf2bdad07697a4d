"""Trials of fixes to which targets count in the loss, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import DataScan, Padding, SampleOrder
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.pads import arranged, run_of
from trainlint.probes.training.regularisers import Change
from trainlint.proof.changes import calls, loss_call, with_arguments
from trainlint.proof.loss_trials import against
from trainlint.proof.runs import Bench, not_tried
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["class_imbalance", "padding"]


def padding(bench: Bench) -> Proof:
    """With padding left out of the loss."""
    facts = bench.measure(Padding)
    if "ignore_index" in bench.finding.evidence:
        return not_tried("which targets are padding is known only where they are filled up")
    if "lost ends" in bench.finding.evidence:
        return not_tried("labels are made by the script's data, not by its step")
    if not isinstance(facts, Padding) or not facts.counted or "expected" not in bench.finding.evidence:
        return not_tried("the fix changes the forward, which a replay of its operations cannot rewrite")
    if facts.real:
        return _ignoring_places(bench, facts)
    return _ignoring(bench, facts.value if facts.fill is None else facts.fill)


def _ignoring(bench: Bench, token: float) -> Proof:
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        if op.name not in ("cross_entropy", "nll_loss") or not isinstance(bound.get("target"), Tensor):
            return not_tried(f"{op.name} has no ignore_index")
        change = with_arguments(op, ignore_index=int(token))
        return against(bench, trial, change, f"With ignore_index={token:g}", "loss of the real positions")


def _ignoring_places(bench: Bench, facts: Padding) -> Proof:
    """With targets at padded positions left out by their place, since real ones have the same class; real ones of all classes are judged."""
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        slot, target = trial.tape.batch.get(facts.path), bound.get("target")
        reader = next((o for o in trial.tape.operations if slot is not None and slot in o.inputs and o is not op), None)
        at = next((i for i, a in enumerate(reader.args) if getattr(a, "slot", None) == slot), None) if reader is not None else None
        if facts.masked or op.name not in ("cross_entropy", "nll_loss") or not isinstance(target, Tensor) or reader is None or at is None:
            return not_tried("which targets are padding cannot be told from a replayed batch")
        ignored, own = int(bound.get("ignore_index", -100)), trial.tape.outside[cast("int", slot)]
        place = arranged(run_of(own, facts.value, facts.side), target.shape) if own.dim() == 2 else None
        if place is None or not bool(place.any()) or set(target[place.to(target.device)].tolist()) != {facts.fill}:
            return not_tried("which targets are padding cannot be told from a replayed batch")
        read = [own]

        def reading(*values: Any, **options: Any) -> Any:
            read[0] = values[at]
            return reader.call(*values, **options)

        def filled(aim: Tensor) -> Tensor:
            places = arranged(run_of(read[0], facts.value, facts.side), aim.shape)
            if places is None:
                raise CannotMeasureError("which targets are padding cannot be told from a replayed batch")
            return aim.masked_fill(places.to(aim.device), ignored)

        maker = _maker_of_target(trial.tape, op, reader)
        mended = calls(op, lambda given, aim, *a, **k: op.call(given, filled(aim), *a, **k))
        if maker is not None:  # what is compared with the prediction elsewhere is filled up as well
            mended = _calling(maker, lambda *values, **options: filled(maker.call(*values, **options)))
        return against(
            bench,
            trial,
            lambda op: mended(_calling(reader, reading)(op)),
            "With targets at padded positions left out",
            "loss of the real positions",
        )


def _maker_of_target(tape: Tape, loss: Operation, reader: Operation) -> Operation | None:
    """What makes the target of the loss for the loss alone, after another operation; None where nothing does."""
    slot = getattr(loss.argument(1, "target"), "slot", None)
    if slot not in tape.producers or [o for o in tape.operations if slot in o.inputs] != [loss]:
        return None
    maker = tape.operations[tape.producers[slot]]
    return maker if len(maker.outputs) == 1 and tape.operations.index(reader) < tape.producers[slot] else None


def _calling(target: Operation, function: Callable[..., Any]) -> Change:
    return lambda op: replace(op, call=function) if op is target else op


def class_imbalance(bench: Bench) -> Proof:
    """With classes weighed by the inverse of their frequency."""
    token = bench.finding.evidence.get("token")
    if isinstance(token, (int, float)):
        return _ignoring(bench, token)
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        counts = _label_counts(bench, bound)
        if len(counts) < 2 or min(counts.values()) <= 0:
            return not_tried("a class without training samples cannot be weighed up")
        given = bound["input"]
        change: Change
        if op.name in ("cross_entropy", "nll_loss"):
            classes = given.shape[1] if given.dim() > 1 else given.shape[0]
            total = sum(counts.values())
            weight = torch.ones(classes)
            for label, count in counts.items():
                if 0 <= int(label) < classes:
                    weight[int(label)] = total / (len(counts) * count)
            change = with_arguments(op, weight=weight.to(given))
        elif op.name == "binary_cross_entropy_with_logits":
            ratio = counts.get(0.0, 0) / max(counts.get(1.0, 0), 1)
            change = with_arguments(op, pos_weight=torch.tensor(ratio).to(given))
        else:
            return not_tried(f"{op.name} takes no class weights")
        return against(
            bench, trial, change, "With classes weighed by the inverse of their frequency", "loss in which each class counts alike"
        )


def _label_counts(bench: Bench, bound: dict[str, Any]) -> dict[float, int]:
    scan = bench.measure(DataScan)
    found = next((c.counts for c in scan.labels if c.phase == "train"), {}) if isinstance(scan, DataScan) else {}
    if found:
        return {float(k): v for k, v in found.items()}
    order = bench.measure(SampleOrder)
    values = order.labels if isinstance(order, SampleOrder) and order.labels else bound["target"].flatten().tolist()
    return {float(v): values.count(v) for v in set(values)}
