"""Checks that validation runs in evaluation mode and without gradients.

## What it checks

Every pass over validation batches between training steps, through a loader or by calls on tensors in hand.

- **Error**: the model was in training mode and has layers for which that matters (dropout, batch norm, stochastic depth).
- **Warning**: functional dropout (`F.dropout` without `training=`, `dropout_p` of attention) is active although the model is in
  evaluation mode. The validation call is made once more to see it; where the script evaluates (`.eval()` in its source) later than the
  scan goes, a call of its training.
- **Warning**: gradients were recorded. A note for models of less than a million parameters, where it costs little.

With several optimizers training mode is a warning: some adversarial models keep dropout on as their source of noise. So it is where no loader is read, and
the pass is told by calls of the model without gradients between steps.
Passed: models without such layers, in either mode.

## Why it matters

In training mode dropout makes each validation number a random one and lower than it should be, batch norm judges each
sample by its neighbours in the batch, and, worse, takes the validation data into its running statistics. The best epoch
is then chosen by noise. Recording gradients keeps every activation in memory: validation needs two to three times the
memory it should, and is slower.

## Example

```python
for x, y in val_loader:
    correct += (model(x).argmax(1) == y).sum().item()
```

## Fix

```python
model.eval()
with torch.no_grad():
    for x, y in val_loader:
        correct += (model(x).argmax(1) == y).sum().item()
```

Put `model.train()` behind the loop, or at the start of each training epoch. Where validation itself needs gradients (forces as derivatives of
an energy), leave them on and ignore that note.

## Thresholds

- A million parameters: below it, what is kept for the backward pass of a batch is of the order of megabytes. To be
  calibrated.

## References

- torch.nn.Module.eval: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval
- PyTorch, Autograd mechanics, locally disabling gradient computation: https://docs.pytorch.org/docs/stable/notes/autograd.html
"""

from __future__ import annotations

from collections.abc import Sequence

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loop, Parameters, ValidationPass
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Parameters from which gradients in validation are a matter of memory: a judgement.
LARGE_MODEL = 1_000_000


class EvalMode(Rule):
    """Looks at the mode of the model, and of autograd, in validation."""

    code = "TL313"
    name = "eval-mode"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Validation runs in evaluation mode and without gradients"
    why = "In training mode validation numbers are noise, and batch norm learns from validation data; gradients cost memory and time."
    source = "PyTorch, Autograd mechanics: https://docs.pytorch.org/docs/stable/notes/autograd.html"
    requires = (Loop, Parameters)
    judges_loop = True

    def judge(self, loop: Loop, parameters: Parameters) -> Verdict:
        """Judge training mode first, then gradients."""
        passes = [p for p in loop.validation if p.batches]
        if not passes and loop.dropout_where is not None:
            return _dropping("when the model is evaluated", {"measured": 1, "expected": 0, "threshold": 0}, loop.dropout_where)
        if not passes:
            return not_run("no validation pass was seen")
        if not any(p.used for p in parameters.parameters):
            return not_run("no training was recorded, so validation cannot be told from it")
        training = [p for p in passes if p.training_mode and p.mode_matters]
        if training:
            return _training_mode(loop, passes, training)
        dropping = [p for p in passes if p.dropout_where is not None]
        if dropping:
            return _dropping(
                f"in {len(dropping)} of {len(passes)} validation passes",
                {**_evidence(passes), "measured": len(dropping), "expected": 0, "threshold": 0},
                dropping[0].dropout_where,
            )
        grad = [p for p in passes if p.grad]
        if grad:
            return _with_gradients(loop, passes, grad, sum(p.size for p in parameters.parameters if p.used))
        how = "in evaluation mode" if not any(p.training_mode for p in passes) else "with layers that work alike in both modes"
        return passed(f"Validation ran {how} and without gradients.", evidence=_evidence(passes))


def _training_mode(loop: Loop, passes: Sequence[ValidationPass], training: Sequence[ValidationPass]) -> Verdict:
    layers = f" ({', '.join(dict.fromkeys(loop.mode_dependent))})" if loop.mode_dependent else ""
    grad = ", and gradients were recorded" if any(p.grad for p in training) else ""
    return failed(
        f"{len(training)} of {len(passes)} validation passes ran in training mode, in which some layers work differently{layers}{grad}.",
        severity=Severity.WARNING if loop.stepped_optimizers > 1 or all(p.told_by_calls for p in training) else Severity.ERROR,
        evidence={**_evidence(passes), "measured": len(training), "expected": 0, "threshold": 0},
        location=training[0].loop_where or training[0].where,
        fix=Fix(
            summary="Switch to evaluation mode before the validation loop, and back to training mode before training goes on.",
            code="model.eval()\nwith torch.no_grad():\n    for inputs, targets in val_loader:\n        ...\nmodel.train()",
            edit=_own(loop, training[0], Edit(kind="eval-mode", values={"gradients": any(p.grad for p in training)})),
        ),
    )


def _dropping(when: str, evidence: dict[str, Json], where: Location | None) -> Verdict:
    return failed(
        f"Dropout is active {when} although the model is in evaluation mode: as a function it drops unless it is told the mode.",
        severity=Severity.WARNING,
        evidence=evidence,
        location=where,
        fix=Fix(
            summary="Hand it the mode of the module, or use a layer, which knows it.",
            code="x = F.dropout(x, p=0.5, training=self.training)\n"
            "F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)",
            edit=Edit(kind="dropout-flag"),
        ),
    )


def _with_gradients(loop: Loop, passes: Sequence[ValidationPass], grad: Sequence[ValidationPass], size: int) -> Verdict:
    return failed(
        f"Gradients are recorded in {len(grad)} of {len(passes)} validation passes of a model with {size:,} parameters, "
        "which costs memory and time.",
        severity=Severity.WARNING if size >= LARGE_MODEL else Severity.NOTE,
        evidence={**_evidence(passes), "measured": len(grad), "expected": 0, "threshold": 0, "parameters": size},
        location=grad[0].loop_where or grad[0].where,
        fix=Fix(
            summary="Switch gradients off for validation, unless the validation itself takes derivatives.",
            code="with torch.no_grad():\n    for inputs, targets in val_loader:",
            edit=_own(loop, grad[0], Edit(kind="no-grad")),
        ),
    )


def _own(loop: Loop, validation: ValidationPass, edit: Edit) -> Edit | None:
    """Keep an edit of a loop that only validates: some code trains and validates in one."""
    trains = any(event.kind == "epoch" and event.phase == "train" and event.where == validation.loop_where for event in loop.events)
    return None if trains or validation.loop_where is None else edit


def _evidence(passes: Sequence[ValidationPass]) -> dict[str, Json]:
    return {
        "passes": len(passes),
        "in_training_mode": sum(p.training_mode for p in passes),
        "with_gradients": sum(p.grad for p in passes),
    }
