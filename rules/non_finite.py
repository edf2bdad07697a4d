"""No NaN or infinity appears in the first training steps.

## What it checks

Inputs, parameters, activations, the loss and its gradients of every recorded step. When one is not finite, the first
operation that made it from finite inputs is named with its line; for a gradient, the operation whose backward made it.

For a parameter that a step on finite gradients broke, as Adam does in float16, it is the line that built the optimizer.

Steps that a gradient scaler skips because its loss scale is still too high are how the scaler finds its scale, and
minus infinity in an attention mask is meant: neither is reported while the loss stays finite. Another infinite
activation that leaves the loss finite is a warning.

## Why it matters

One NaN in the loss makes every weight NaN in the same step. Nothing recovers from that, and often nothing says so:
`argmax` of NaN is class 0, and accuracy freezes at its share.

## Example

```python
pooled = (embedded * mask).sum(1) / mask.sum(1)                  # 0 / 0 for an empty document
distance = (a - b).pow(2).sum(1).sqrt()                          # the gradient of sqrt at 0 is infinite
loss = -(target * torch.log(probability)).sum(1).mean()          # log(0)
```

## Fix

Keep the operation away from the point where it is not defined, or use the function that is made for it.

```python
pooled = (embedded * mask).sum(1) / mask.sum(1).clamp(min=1)
distance = ((a - b).pow(2).sum(1) + 1e-12).sqrt()
loss = F.cross_entropy(logits, target)
```

## Thresholds

None: a value is finite or it is not. An overflow is named as the likely cause only where the loss or the gradient norm had grown
tenfold in the last three values before, against the median of those before them; else the usual causes are given as possibilities.

## References

- PyTorch, Anomaly detection: <https://docs.pytorch.org/docs/stable/autograd.html#anomaly-detection>
- PyTorch, Autograd mechanics, "gradients for non-differentiable functions":
  <https://docs.pytorch.org/docs/stable/notes/autograd.html>
- Micikevicius et al., Mixed Precision Training, for loss scaling: <https://arxiv.org/abs/1710.03740>
"""

from __future__ import annotations

import math
import re

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import Loop, NonFinite
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Operations that write infinities on purpose: masks.
MASKS = frozenset(
    {"masked_fill", "masked_fill_", "where", "full", "full_like", "new_full", "triu", "tril", "fill_", "index_put", "index_put_", "scatter"}
)

#: What to do about an operation at the edge of its domain, looked up by the words of its name and of the detail.
REMEDIES: tuple[tuple[str, str, str], ...] = (
    (
        "float16",
        "Keep the weights in float32 and compute in half precision under autocast: Adam's eps of 1e-8 is 0 in float16, and small updates vanish.",
        'with torch.autocast("cuda", dtype=torch.float16):  # the model itself stays float32\n    loss = criterion(model(inputs), targets)',
    ),
    (
        "sqrt rsqrt norm linalg_vector_norm cdist pairwise_distance std var",
        "Add a small number before the root: its gradient at 0 is infinite.",
        "distance = (squared + 1e-12).sqrt()",
    ),
    (
        "log log2 log10 log1p",
        "Use the function that takes the logarithm safely (cross_entropy, log_softmax, torch.special.entr), or keep its argument off 0.",
        "log_p = F.log_softmax(logits, dim=1)  # not torch.log(F.softmax(logits, dim=1))",
    ),
    ("div truediv reciprocal division mean", "Keep the divisor away from 0.", "mean = total / count.clamp(min=1)"),
    (
        "softmax log_softmax",
        "Leave at least one entry of every row unmasked, or mask with a large finite number.",
        "scores = scores.masked_fill(mask, -1e4)",
    ),
    ("exp expm1 pow overflow", "Bound the exponent, or use logsumexp, softplus or expm1.", "scale = log_scale.clamp(max=10).exp()"),
    (
        "acos arccos asin arcsin",
        "Keep the argument inside (-1, 1), where the gradient is finite.",
        "angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))",
    ),
)

#: How much larger than before the loss or the gradient norm is in the last steps when an overflow is suspected.
GREW = 10.0
ANOMALY = "with torch.autograd.detect_anomaly():\n    loss.backward()"
ASSERTION = "assert torch.isfinite(value).all()  # after each operation between the model's outputs and the loss"


class NonFiniteRule(Rule):
    """Reports the first value that is not a finite number."""

    code = "TL311"
    name = "non-finite"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Loss, activations and gradients are finite numbers"
    why = "A single NaN in the loss turns every weight into NaN in the same step, and training cannot recover from it."
    source = "PyTorch, Anomaly detection, https://docs.pytorch.org/docs/stable/autograd.html#anomaly-detection"
    requires = (NonFinite, Loop)

    def judge(self, nonfinite: NonFinite, loop: Loop) -> Verdict:
        """Tell what is meant from what is broken, and name the operation."""
        if not nonfinite.steps:
            return not_run("no training step was recorded")
        if not nonfinite.found:
            return passed(f"Inputs, activations, loss and gradients were finite in all {nonfinite.steps} recorded steps.")
        if math.isfinite(nonfinite.loss) and (harmless := _harmless(nonfinite, loop)):
            return passed(harmless)
        summary, code = _remedy(nonfinite)
        return failed(
            _message(nonfinite),
            severity=Severity.WARNING if nonfinite.what == "activation" and math.isfinite(nonfinite.loss) else Severity.ERROR,
            evidence=_evidence(nonfinite),
            location=nonfinite.where,
            fix=Fix(summary=summary, code=code, edit=_edit(nonfinite)),
        )


def _harmless(nonfinite: NonFinite, loop: Loop) -> str | None:
    """Explain what is left alone while the loss itself is finite."""
    if nonfinite.what == "gradient" and any(s.skipped for s in loop.steps):
        return (
            f"Gradients overflowed in step {nonfinite.step}, which the gradient scaler skipped to find its loss scale; the loss is finite."
        )
    if nonfinite.what == "activation" and nonfinite.operation in MASKS:
        return f"The only infinities are those that {nonfinite.operation} writes into a mask; the loss is finite."
    if nonfinite.what == "input":
        return "Some inputs are not finite, but the model keeps them out of the loss, which is finite."
    return None


def _message(nonfinite: NonFinite) -> str:
    place = f" in {nonfinite.module}" if nonfinite.module else ""
    made = f", made by {nonfinite.operation}{place}" if nonfinite.operation else place
    detail = f" ({nonfinite.detail})" if nonfinite.detail else ""
    subject = {
        "input": "The input of the model holds NaN or infinity",
        "parameter": f"The parameter {nonfinite.parameter or 'of a layer'} became NaN or infinite",
        "activation": "An activation is NaN or infinite",
        "loss": "The loss is NaN or infinite",
        "gradient": f"The gradient of {nonfinite.parameter or 'a parameter'} is NaN or infinite although the loss is {nonfinite.loss:.3g}",
    }.get(nonfinite.what, "A value is NaN or infinite")
    return f"{subject} in {_step(nonfinite)}{made}{detail}."


def _step(nonfinite: NonFinite) -> str:
    if nonfinite.step <= nonfinite.steps:
        return f"step {nonfinite.step} of {nonfinite.steps}"
    whole = f", after {nonfinite.steps} whole step{'' if nonfinite.steps == 1 else 's'}" if nonfinite.steps else ""
    return f"step {nonfinite.step}{whole}"


def _edit(nonfinite: NonFinite) -> Edit | None:
    names = [n for n in ("rsqrt", "sqrt", "log") if n in re.findall(r"\w+", nonfinite.operation.lower())]
    return Edit(kind="off-the-edge", values={"operation": names[0]}) if names else None


def _remedy(nonfinite: NonFinite) -> tuple[str, str]:
    if nonfinite.what == "input":
        return "Fill or drop the missing values before training.", "table = table.fillna(train_table.mean())"
    hints = set(re.findall(r"\w+", f"{nonfinite.operation} {nonfinite.detail}".lower()))
    grew = nonfinite.growth if nonfinite.growth is not None and nonfinite.growth >= GREW else None
    if grew is not None and "overflow" in hints:
        return _overflow(nonfinite, grew)
    for words, summary, code in REMEDIES:
        if hints & set(words.split()):
            return summary, code
    if grew is not None:
        return _overflow(nonfinite, grew)
    if nonfinite.step > 1:
        return _possible(nonfinite)
    return (
        "Let autograd name the forward operation that led to it, for one step.",
        ANOMALY,
    )


def _overflow(nonfinite: NonFinite, growth: float) -> tuple[str, str]:
    seen = f"The loss or the gradient norm had grown {growth:.3g}-fold in the last steps before it"
    if nonfinite.clipped:
        return f"{seen}, in spite of clipping, so an overflow is likely: lower the learning rate.", ""
    return (
        f"{seen}, so an overflow is likely: lower the learning rate, and clip the gradient.",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\noptimizer.step()",
    )


def _possible(nonfinite: NonFinite) -> tuple[str, str]:
    """What may be behind a value that came after some steps, when nothing was seen to grow."""
    steady = nonfinite.growth is not None
    seen = "Neither the loss nor the gradient norm had grown before it. " if steady else ""
    if nonfinite.operation:
        causes = (
            f"Look at what goes into {nonfinite.operation} in that step: very large numbers overflow, and 0 * inf and inf - inf are NaN"
        )
    else:
        causes = "It may come from an operation at the edge of its domain: log or sqrt of 0, 0 / 0, exp of a large number"
    other = "" if steady else "; or values grew until they overflowed, which a lower learning rate would change"
    return f"{seen}{causes}{other}.", ANOMALY if nonfinite.what in ("gradient", "parameter") else ASSERTION


def _evidence(nonfinite: NonFinite) -> dict[str, Json]:
    loss: Json = nonfinite.loss if math.isfinite(nonfinite.loss) else str(nonfinite.loss)
    return {
        "step": nonfinite.step,
        "what": nonfinite.what,
        "operation": nonfinite.operation,
        "module": nonfinite.module,
        "detail": nonfinite.detail,
        "loss": loss,
        "growth": nonfinite.growth,
        "clipped": nonfinite.clipped,
    }
