"""Trials of fixes to the loss call and what stands before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from trainlint.finding import Proof
from trainlint.measurements import Loss
from trainlint.probes.step.answers import scores_of
from trainlint.probes.step.crossed import crossed_pairs
from trainlint.probes.step.divergence import outweighing_divergence
from trainlint.probes.training.regularisers import Change, without
from trainlint.proof.changes import calls, from_logits, log_probabilities, logarithm_first, loss_call, removed
from trainlint.proof.runs import Bench, Condition, compared, not_tried, then
from trainlint.record.operation import Operation
from trainlint.record.tape import Tape

__all__ = ["against", "label_range", "loss_reduction", "loss_shape", "output_activation", "soft_targets"]

#: Calls that hand values on unchanged, between an activation and the loss.
_LOOK_THROUGH = 12
#: Losses over pairs, and the position of their target.
_PAIR_TARGETS = {"cosine_embedding_loss": 2, "margin_ranking_loss": 2, "hinge_embedding_loss": 1, "soft_margin_loss": 1}


def output_activation(bench: Bench) -> Proof:
    """Without the activation, or with the loss that fits it."""
    formula = bench.finding.evidence.get("formula")
    if formula:
        return _formula(bench, turned=formula == "sign")
    kind, activation = str(bench.finding.evidence.get("loss")), bench.finding.evidence.get("activation")
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        made = _activation(trial.tape, op, str(activation)) if activation else None
        change: Change | None = removed(made) if made is not None else None
        words = f"Without the {activation}"
        if kind == "nll_loss":
            given = bound["input"]
            probabilities = activation == "softmax" or bool(given.min() >= 0 and given.max() <= 1)
            change = calls(op, logarithm_first if probabilities else log_probabilities)
            words = "With log-probabilities for the loss"
        elif kind == "binary_cross_entropy":
            change = then(change, calls(op, from_logits))
            words = "With the loss that takes logits" + (f" and without the {activation}" if made is not None else "")
        elif kind == "cross_entropy" and made is None:
            change = calls(op, lambda given, *a, **k: op.call(given.clamp_min(1e-12).log(), *a, **k))
            words = "With the logarithm of the probabilities as logits"
        if change is None:
            return not_tried(f"the {activation} could not be found among the recorded operations")
        return against(bench, trial, change, words)


def _formula(bench: Bench, *, turned: bool) -> Proof:
    """With the sign of the script's own formula turned, or with the probabilities that it takes."""
    with bench.rehearsal() as trial:
        if turned:
            op = trial.tape.operations[trial.tape.producers[trial.tape.loss]]
            return against(
                bench,
                trial,
                calls(op, lambda *a, **k: -op.call(*a, **k)),
                "With its sign turned",
                "loss, sign turned, on the recorded batches",
            )
        made = scores_of(trial)
        if made is None:
            return not_tried("the operation that makes the scores could not be found")
        change = calls(made, lambda *a, **k: made.call(*a, **k).sigmoid())
        return against(bench, trial, change, "With a sigmoid before the formula", "loss of the probabilities on the recorded batches")


def against(bench: Bench, trial: Any, change: Change, words: str, measure: str = "loss on the recorded batches") -> Proof:
    """Both conditions, judged by the mended loss."""
    before, after = Condition(judged=change), Condition(change=change, judged=change)
    return compared(bench, trial, before=before, after=after, words=words, measure=measure)


def _activation(tape: Tape, loss: Operation, name: str) -> Operation | None:
    """The operation of that name nearest to the loss's input."""
    given = loss.argument(0, "input")
    slot = getattr(given, "slot", None)
    if slot is None:
        return None
    for position, _ in zip(tape.upstream(slot), range(_LOOK_THROUGH), strict=False):
        op = tape.operations[position]
        if op.name.strip("_") == name or op.name == name:
            return op
    return None


def loss_shape(bench: Bench) -> Proof:
    """With input and target in the same shape."""
    if "column" in bench.finding.evidence:
        return _uncrossed(bench)
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        given, target = bound["input"], bound["target"]
        if given.numel() != target.numel():
            return not_tried(f"shapes {tuple(given.shape)} and {tuple(target.shape)} cannot be made equal without knowing what is meant")
        change = calls(op, lambda x, y, *a, **k: op.call(x.reshape(y.shape), y, *a, **k))
        return against(bench, trial, change, "With prediction and target in one shape", "loss, rightly paired, on the recorded batches")


def _uncrossed(bench: Bench) -> Proof:
    """With the column that met a row as a row too."""
    with bench.rehearsal() as trial:
        found = crossed_pairs(trial.tape)
        if found is None:
            return not_tried("the operation that crosses samples is not among the replayed ones")
        op = found.operation

        def paired(*values: Any, **options: Any) -> Any:
            rows = [v.squeeze(-1) if isinstance(v, Tensor) and v.dim() == 2 and v.shape[1] == 1 else v for v in values]
            return op.call(*rows, **options)

        return against(
            bench, trial, calls(op, paired), "With each sample beside its own value", "loss, rightly paired, on the recorded batches"
        )


def loss_reduction(bench: Bench) -> Proof:
    """With the mean in place of the sum, or the divergence weighed as in the evidence bound."""
    if "factor" in bench.finding.evidence:
        return _balanced(bench)
    loss = bench.measure(Loss)
    summed = [c for c in loss.calls if c.reduction == "sum" or c.batch_size > 1] if isinstance(loss, Loss) else []
    if not summed:
        return not_tried("by how much the loss is scaled is not known")
    call = max(summed, key=lambda c: (c.reduction == "sum", c.elements))
    scale = float(call.elements if call.reduction == "sum" else call.batch_size)
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(loss_scale=1.0 / scale),
            words="With the gradient of the mean",
            measure="loss (as the script adds it up) on the recorded batches",
        )


def _balanced(bench: Bench) -> Proof:
    with bench.rehearsal() as trial:
        found = outweighing_divergence(trial.tape)
        if found is None:
            return not_tried("the divergence could not be found among the recorded operations")
        op = found.divergence
        alone = Condition(judged=calls(op, lambda *a, **k: 0.0 * op.call(*a, **k)))
        lightened = calls(op, lambda *a, **k: op.call(*a, **k) / found.excess)
        words = f"With the divergence weighed by 1/{found.excess:.0f}, as where both are sums over a sample"
        return compared(bench, trial, before=alone, after=replace(alone, change=lightened), words=words, measure="reconstruction error")


def label_range(bench: Bench) -> Proof:
    """With labels counted from zero, or with pairs told apart by 1 and -1."""
    if bench.finding.evidence.get("loss") in _PAIR_TARGETS:
        return _plus_and_minus(bench)
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        target = bound["target"]
        given = bound["input"]
        classes = given.shape[1] if given.dim() > 1 else given.shape[0]
        if target.is_floating_point() or int(target.min()) < 1 or int(target.max()) < classes:
            return not_tried("the fix changes the number of outputs, which a replay cannot")
        change = calls(op, lambda given, aim, *a, **k: op.call(given, aim - 1, *a, **k))
        return against(bench, trial, change, "With labels counted from zero")


def _plus_and_minus(bench: Bench) -> Proof:
    with bench.rehearsal() as trial:
        op = next((o for o in trial.tape.operations if o.name in _PAIR_TARGETS), None)
        if op is None:
            return not_tried("the loss is not among the replayed operations")
        at = _PAIR_TARGETS[op.name]

        def told_apart(*values: Any, **options: Any) -> Any:
            if "target" in options:
                return op.call(*values, **{**options, "target": 2 * options["target"] - 1})
            return op.call(*values[:at], 2 * values[at] - 1, *values[at + 1 :], **options)

        return against(
            bench, trial, calls(op, told_apart), "With targets of 1 and -1", "loss with targets of 1 and -1 on the recorded batches"
        )


def soft_targets(bench: Bench) -> Proof:
    """Smoothing once, where it was done twice."""
    with bench.rehearsal() as trial:
        op, _ = loss_call(trial.tape)
        if op.name != "cross_entropy" or not op.argument(7, "label_smoothing", 0.0):
            return not_tried("the mixed labels are not among the recorded values")
        return against(bench, trial, without("label smoothing"), "Without the second smoothing")
