"""Prediction and target have the same shape, so that each prediction is compared with its own target.

## What it checks

Every loss call of the first training step whose prediction and target have different shapes and were broadcast against
each other:

- both grow, as with `(32, 1)` and `(32,)`, which become `(32, 32)`: every prediction is compared with every target;
- the prediction is repeated: the model has fewer outputs than the target has values;
- the target is repeated over samples: every sample has the same one.

Arithmetic of the script's own in the same step, where a layer's output `(32, 1)` meets a `(32,)`, as in `returns - value`: columns that
are made on purpose, by `unsqueeze`, an index or `keepdim`, are not meant.

And every class loss whose scores were flattened on the way from the output layer: when a `view` cuts `(B, C, H, W)` into `(B·H·W, C)`
without a `permute`, shapes are right, but each row holds scores of several pixels, and is compared with the target of another.

Constant targets, whose loss is the same after broadcasting (the ones and zeros of a least-squares GAN), and targets of
one element are left alone. Pairwise losses written with an explicit axis of one on both sides, as in quantile
regression, get a warning only.

## Why it matters

PyTorch broadcasts in silence, or with a warning that scrolls away. The best answer to "every prediction against every
target" is the mean of the batch: the loss goes down to the variance of the target and stays there, and the model
predicts a constant. Scores that were cut up teach each pixel what another should be.

## Example

```python
pred = model(x)                        # (32, 1)
loss = F.mse_loss(pred, y)             # y is (32,)
```

## Fix

Give both the same shape.

```python
loss = F.mse_loss(pred.squeeze(1), y)
```

## Thresholds

Shapes are exact: the number of compared pairs after broadcasting must not exceed the larger of the two tensors. Where the scores of a
prediction come from is followed exactly too; half of the predictions torn apart is an error. Places that are classes themselves (a map
of moves, of key points) are told by their number.

## References

- PyTorch, Broadcasting semantics: <https://docs.pytorch.org/docs/stable/notes/broadcasting.html>
- PyTorch, MSELoss, "target has the same shape as the input":
  <https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html>
- Dabney et al., Distributional Reinforcement Learning with Quantile Regression, for a loss over all pairs on purpose:
  <https://arxiv.org/abs/1710.10044>
"""

from __future__ import annotations

import math

from trainlint.details import Table
from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Loss, LossCall
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of predictions with scores of several places; all or none in practice.
TORN = 0.5


class LossShape(Rule):
    """Finds loss calls in which broadcasting or a reshape made up pairs."""

    code = "TL104"
    name = "loss-shape"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "Each prediction is compared with its own target"
    why = "When shapes differ, broadcasting compares every prediction with every target, and the model learns to answer the mean."
    source = "PyTorch, Broadcasting semantics, https://docs.pytorch.org/docs/stable/notes/broadcasting.html"
    requires = (Loss,)

    def judge(self, loss: Loss) -> Verdict:
        """Judge each call; the worst speaks."""
        if loss.crossed and not any(call.broadcast for call in (*loss.calls, *loss.turns)):
            return _crossed(loss)
        if not loss.calls and loss.formula_where is not None:
            return passed("The loss is a formula of the script's own; no column of outputs meets a row in it.")
        if not loss.calls:
            return not_run("the loss is a formula of the script's own, so prediction and target cannot be told apart")
        calls = (*loss.calls, *loss.turns)
        faults = [_torn(call) for call in calls if call.torn >= TORN and len(call.torn_from) > 1]
        faults += [fault for call in calls if call.broadcast and (fault := _broadcast(call))]
        if faults:
            return min(faults, key=lambda f: f.severity.rank if f.severity else 0)
        call = loss.calls[0]
        return passed(
            f"{call.kind} compares {_shape(call.input_shape)} with {_shape(call.target_shape)}; nothing is broadcast by accident.",
            evidence={"prediction": list(call.input_shape), "target": list(call.target_shape)},
        )


def _crossed(loss: Loss) -> Verdict:
    samples = loss.crossed[0]
    return failed(
        f"A column {_shape(loss.crossed)} met a row {_shape((samples,))} here and was broadcast to {_shape((samples, samples))}: each of {samples} "
        "samples is combined with the values of all others.",
        severity=Severity.ERROR,
        evidence={"measured": samples * samples, "expected": samples, "column": list(loss.crossed), "row": [samples]},
        location=loss.crossed_where,
        fix=Fix(
            summary="Drop the column's last axis of one.",
            code="value = value.squeeze(-1)",
            edit=Edit(kind="drop-column", values={"operation": loss.crossed_by, "side": loss.crossed_side}),
        ),
    )


def _torn(call: LossCall) -> Verdict:
    rows, given = _shape(call.input_shape), _shape(call.torn_from)
    order = (0, *range(2, len(call.torn_from)), 1)
    return failed(
        f"{call.kind} got scores {rows} that were cut out of {given} without moving the classes to the end: {call.torn:.0%} of the predictions "
        "hold scores of several places, and are compared with the target of another.",
        severity=Severity.ERROR,
        evidence={
            "measured": call.torn,
            "expected": 0.0,
            "threshold": TORN,
            "prediction": list(call.input_shape),
            "given": list(call.torn_from),
        },
        location=call.torn_where or call.where,
        fix=Fix(
            summary="Move the class axis to the end before flattening, or give the loss the scores as they are: it takes classes along axis 1.",
            code=f"scores = scores.permute{order}.reshape(-1, {call.classes or call.torn_from[1]})  # or F.{call.kind}(scores, target), unflattened",
        ),
    )


def _broadcast(call: LossCall) -> Verdict | None:
    predictions, targets = math.prod(call.input_shape), math.prod(call.target_shape)
    shapes = f"predictions {_shape(call.input_shape)} and targets {_shape(call.target_shape)}"
    if targets == 1 or call.target_std == 0:
        return None
    if call.broadcast_elements > max(predictions, targets):
        written_out = len(call.input_shape) == len(call.target_shape)
        message = (
            f"{call.kind} got {shapes} and compared {call.broadcast_elements} pairs in place of {max(predictions, targets)}: "
            "each prediction with the targets of other samples too, which is best answered with their mean."
        )
        return _fault(call, message, Severity.WARNING if written_out else Severity.ERROR)
    if predictions < targets:
        message = f"{call.kind} got {shapes}: each prediction is repeated for {targets // max(predictions, 1)} targets."
        return _fault(call, message, Severity.WARNING)
    message = f"{call.kind} got {shapes}: each target is repeated for {predictions // max(targets, 1)} predictions."
    return _fault(call, message, Severity.NOTE)


def _fault(call: LossCall, message: str, severity: Severity) -> Verdict:
    table = Table(
        title="Shapes in the loss",
        columns=("tensor", "shape", "elements"),
        rows=(
            ("prediction", _shape(call.input_shape), math.prod(call.input_shape)),
            ("target", _shape(call.target_shape), math.prod(call.target_shape)),
            ("compared", "after broadcasting", call.broadcast_elements),
        ),
    )
    return failed(
        message,
        severity=severity,
        evidence={
            "prediction": list(call.input_shape),
            "target": list(call.target_shape),
            "measured": call.broadcast_elements,
            "expected": max(math.prod(call.input_shape), math.prod(call.target_shape)),
        },
        location=call.where,
        fix=_fix(call),
        details=(table,),
    )


def _fix(call: LossCall) -> Fix:
    """Name the axes of length one that are too many, when that is all that differs."""
    prediction, target = call.input_shape, call.target_shape
    if prediction[-1:] == (1,) and prediction[:-1] == target:
        return Fix(
            summary="Drop the prediction's last axis of one.",
            code=f"loss = F.{call.kind}(pred.squeeze(-1), target)",
            edit=_edit(call, "prediction"),
        )
    if target[-1:] == (1,) and target[:-1] == prediction:
        return Fix(
            summary="Drop the target's last axis of one.",
            code=f"loss = F.{call.kind}(pred, target.squeeze(-1))",
            edit=_edit(call, "target"),
        )
    if [n for n in prediction if n != 1] == [n for n in target if n != 1]:
        return Fix(
            summary="Give the target the prediction's shape.",
            code=f"loss = F.{call.kind}(pred, target.view_as(pred))",
            edit=_edit(call, "view"),
        )
    return Fix(
        summary="Give the model one output per target value, and both tensors the same shape; an assertion keeps it so.",
        code=f"assert pred.shape == target.shape, (pred.shape, target.shape)\nloss = F.{call.kind}(pred, target)",
    )


def _edit(call: LossCall, change: str) -> Edit:
    return Edit(kind="match-shape", values={"loss": call.kind, "change": change})


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
