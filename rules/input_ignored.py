"""Checks that what the model predicts depends on what it is given.

## What it checks

Each sample of the recorded batch is given the inputs of another, and the step is replayed with dropout off.

- **Error**: no prediction changes, and no gradient of any parameter either: the model cannot learn anything about its inputs.
- **Warning**: the same for one of several inputs that enter the model.
- **Warning**: numbers between -1 and 1 that differ are cast to integers, all 0, before the model looks something up by them, so that each sample
  gets the same row (a time in [0, 1) for a table of 1,000 steps).

Not judged: a layer whose units are all silent passes nothing on either; dead-units says so. Where the effect only fades from one
saturating layer to the next, init-scale and gradient-vanishing say why.

Healthy and passed: last layers that begin at zero (their gradients do depend on the inputs), tensors of the batch that the loop
keeps for itself, masks and ids that are the same for all samples, generators that are fed noise; numbers that the model also uses as they
are, as interpolation does, that were learned, or worked out before the cast.

## Why it matters

The loss still falls, to that of the best constant answer: the frequencies of the classes, the mean of the targets. It looks like
a hard problem or a weak model, and no learning rate helps.

## Example

```python
class Head(nn.Module):
    def forward(self, features):
        return torch.softmax(self.score(features), dim=-1)  # one score a sample: softmax makes it 1
```

## Fix

Follow the tensor from the input to the output and look where it is dropped: a variable that is overwritten, a normalisation over an
axis of size one, a mask that hides everything, a branch multiplied by zero.

```python
hidden = self.encoder(x)
hidden = self.norm(hidden)  # not self.norm(self.token)
return self.head(hidden)
```

## Thresholds

- A relative change of 1e-6 in predictions, the rounding of single precision (2 ** -24 = 6e-8) after some sums, and of 1e-4 in
  gradients, which add up more of it: behind a norm over one value they changed by 3e-6, under a last layer at zero by 0.4.

- Eight different numbers, all between -1 and 1 in each recorded step, that become one integer: scaled numbers leave that range.

## References

- Karpathy, A Recipe for Training Neural Networks (input-independent baseline): https://karpathy.github.io/2019/04/25/recipe/
- Goyal et al., Accurate, Large Minibatch SGD, section 5.1, zero-initialised last layers: https://arxiv.org/abs/1706.02677
"""

from __future__ import annotations

from trainlint.finding import Fix, Json, Severity, Stage
from trainlint.measurements import Activations, Collapsed, Influence, InputEffect, Loss
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Relative change that rounding explains, in predictions and in gradients.
EQUAL, EQUAL_GRADIENTS = 1e-6, 1e-4
#: Operations that pass nothing on where their units are dead.
SILENCING = ("relu", "relu_", "relu6", "threshold", "threshold_", "hardtanh", "hardtanh_", "relu6_", "max_pool2d", "clamp", "clamp_min")

#: Operations that pass ever less on where many of them follow each other.
FADING = ("sigmoid", "sigmoid_", "tanh", "tanh_", "hardsigmoid", "hardtanh", "softsign")


class InputIgnored(Rule):
    """Looks for inputs that change neither predictions nor gradients."""

    code = "TL107"
    name = "input-ignored"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "Predictions depend on the inputs"
    why = "A model that does not see its inputs learns the best constant answer: the loss falls a little and stays there, whatever the learning rate."
    source = "Karpathy, A Recipe for Training Neural Networks: https://karpathy.github.io/2019/04/25/recipe/"
    requires = (Influence, Activations, Loss)

    def judge(self, influence: Influence, activations: Activations, loss: Loss) -> Verdict:
        """Judge all inputs together, then each alone."""
        together = influence.together
        if together is None or not _ignored(together):
            for cast in influence.collapsed:
                return _collapsed(cast)
        if together is None:
            return not_run("the recorded step could not be replayed with inputs of other samples")
        silent = next((layer.module or layer.kind for layer in activations.layers if layer.dead_units >= 1.0), None)
        if _ignored(together) and silent is not None and influence.lost_in in SILENCING:
            return not_run(f"every unit of {silent} is silent, so that nothing of the input passes it")
        if _ignored(together) and together.change > 0 and influence.lost_in in FADING:
            return not_run("what the input changes fades from layer to layer, which `init-scale` and `gradient-vanishing` judge")
        if _ignored(together) and together.connected and len(loss.values) > 1 and not any(loss.values):
            return not_run("the loss is exactly 0 in every step, whatever the model predicts, so that no gradient tells")
        evidence: dict[str, Json] = {
            "measured": together.change,
            "expected": "a change",
            "threshold": EQUAL,
            "gradient_change": together.gradient_change,
            **{effect.path: effect.change for effect in influence.inputs},
        }
        if _ignored(together):
            return failed(
                f"No prediction and no gradient changes when each of {influence.samples} samples is given the inputs of another{_how(influence, together)}.",
                severity=Severity.ERROR,
                evidence=evidence,
                location=influence.where,
                fix=Fix(
                    summary="Follow the input through the model and print where it stops to matter.",
                    code="print(hidden.std(dim=0).max())  # over the batch: 0 where samples no longer differ",
                ),
            )
        unused = [effect for effect in influence.inputs if _ignored(effect)]
        if unused:
            named = ", ".join(f"{effect.path} {effect.shape}" for effect in unused)
            return failed(
                f"The model is given {named}, and nothing that it predicts depends on it.",
                severity=Severity.WARNING,
                evidence=evidence,
                location=influence.where,
                fix=Fix(
                    summary="Use it in forward(), or do not hand it over.",
                    code="hidden = torch.cat([self.body(x), self.side(extra)], dim=1)",
                ),
            )
        if together.change <= EQUAL:
            return passed(
                "Predictions do not depend on the inputs yet, but gradients do: a last layer that begins at zero.", evidence=evidence
            )
        return passed(f"Given another sample's inputs, predictions change by up to {together.change:.2g} of their size.", evidence=evidence)


def _collapsed(cast: Collapsed) -> Verdict:
    return failed(
        f"This cast turns {cast.numbers:,} different numbers between {cast.low:.3g} and {cast.high:.3g} into one integer, so {cast.look_up} gives every "
        "sample the same, whatever its number.",
        severity=Severity.WARNING,
        evidence={
            "measured": 1,
            "expected": "several integers",
            "threshold": 1,
            "numbers": cast.numbers,
            "low": cast.low,
            "high": cast.high,
        },
        location=cast.where,
        fix=Fix(
            summary="Scale the numbers to the size of the table before the cast, or hand the model the numbers as they are.",
            code="row = self.table[(t * (len(self.table) - 1)).long()]  # t in [0, 1]",
        ),
    )


def _how(influence: Influence, together: InputEffect) -> str:
    if not together.connected:
        return ": no operation leads from the batch to the loss"
    return f": {influence.lost_in} passes nothing on" if influence.lost_in else ""


def _ignored(effect: InputEffect) -> bool:
    return effect.change <= EQUAL and effect.gradient_change <= EQUAL_GRADIENTS
