"""The model's last operation is the one that the loss expects.

## What it checks

The operation that made the input of each loss call in the first training step, and the values it produced:

| loss | expects | flagged |
|---|---|---|
| `cross_entropy` | logits | softmax, sigmoid, ReLU or tanh before it; rows that sum to one |
| `nll_loss`, `ctc_loss` | log-probabilities | raw scores, probabilities without a logarithm |
| `kl_div` | log-probabilities | softmax |
| `binary_cross_entropy` | probabilities | raw logits, ReLU, a softmax over labels that hold at once |
| `binary_cross_entropy_with_logits` | logits | sigmoid, softmax, their logarithms, ReLU, tanh |
| `mse_loss`, `l1_loss`, Huber | what reaches the target | ReLU before negative targets, sigmoid before targets outside [0, 1] … |

A formula of the script's own is asked instead: the recorded step is replayed with the output layer's scores set by the targets (0 and 1, or
classes).

- Its loss rises from all wrong to all right answers: a sign is wrong, and training drives predictions away from the targets.
- Its minimum is where scores equal the targets, clearly right scores are far from it, and impossible ones of 3 are better still: it takes
  probabilities, as a Dice loss does, but gets raw scores.

For every loss: a softmax over the batch axis, and a softmax over a single output, which is always 1. `log_softmax` with
`nll_loss`, `sigmoid` with `binary_cross_entropy` and the logarithm of probabilities with `nll_loss` are right;
`log_softmax` before `cross_entropy` is only superfluous.

## Why it matters

Softmax before `cross_entropy` squeezes the logits into [0, 1]: the loss cannot come near zero (1.46 at best for ten
classes), gradients shrink, and accuracy creeps up so slowly that it looks like a hard problem. Raw scores in `nll_loss`
have no minimum at all. A ReLU cannot predict what is negative, and once an output is dead it stays at zero.

## Example

```python
def forward(self, x):
    return self.fc2(F.relu(self.fc1(x))).softmax(dim=1)

loss = F.cross_entropy(model(x), y)
```

## Fix

Return logits; the loss applies its own softmax or sigmoid in a numerically stable way. Apply softmax only where
probabilities are read.

```python
def forward(self, x):
    return self.fc2(F.relu(self.fc1(x)))

loss = F.cross_entropy(model(x), y)
```

## Thresholds

- What each loss expects: PyTorch's documentation.
- 0.001 for "sums to one" and for "a log-probability is never positive": rounding in single precision, with room to
  spare.
- 0.43 and 0.57 for "can never say no" and "can never say yes": half, with room for the small dip of GELU and SiLU.
- A formula: losses of scores of -8, -1, 1 and 8 times the right sign must all rise, by half of the first loss, to be told as a wrong sign.
  Raw scores are told when right scores lie a tenth of the way from the loss at the targets to that at their opposites above it, and scores of
  3 as far below. Judgements; torch's own losses and formulas of probabilities or logits do neither.
- For a real-valued target: the target must pass the activation's range by half of its standard deviation, with at least
  5 % of its values out of reach (counted; where there are too many different values to count, its mean within a quarter
  of a standard deviation of the bound or beyond it) for an error; by a tenth for a warning. Chosen so that standardised
  targets are caught and noise around zero is not. A judgement.

## References

- PyTorch, CrossEntropyLoss, "the input is expected to contain the unnormalized logits":
  <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>
- PyTorch, NLLLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html>
- PyTorch, BCEWithLogitsLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html>
- PyTorch, KLDivLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html>
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from trainlint.finding import Edit, Fix, Severity, Stage
from trainlint.measurements import Loss, LossCall
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._formula import formula_fault

ROUNDING = 1e-3
ERROR_DEPTH = 0.5
WARNING_DEPTH = 0.1
ERROR_SHARE = 0.05
NEAR_BOUND = 0.25
NEVER_NO = 0.43
NEVER_YES = 0.57

#: Smallest and largest value of an activation, from its definition (GELU and SiLU have their minimum at -0.17 and -0.28).
RANGES: dict[str, tuple[float, float]] = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "elu": (-1.0, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.2785, math.inf),
    "log_softmax": (-math.inf, 0.0),
    "logsigmoid": (-math.inf, 0.0),
}

_LOGITS = Fix(
    summary="Return the logits; the loss applies its own softmax or sigmoid. Apply it yourself only where you read probabilities.",
    code="return self.head(x)  # no activation",
)
_LOG_PROBABILITIES = Fix(
    summary="Apply log_softmax before this loss; in place of nll_loss, cross_entropy on the raw scores does both.",
    code="log_probabilities = F.log_softmax(logits, dim=-1)",
)


class OutputActivation(Rule):
    """Compares the last operation before each loss with what that loss expects."""

    code = "TL103"
    name = "output-activation"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "The model's output is what its loss function expects"
    why = "A softmax or sigmoid that is applied twice squeezes what the loss sees until little can be learned; other mismatches have no minimum."
    source = "PyTorch, CrossEntropyLoss, https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html"
    requires = (Loss,)

    def judge(self, loss: Loss) -> Verdict:
        """Look at every call; the worst mismatch speaks. A formula is asked what it says of right and wrong answers."""
        if loss.answers is not None and (verdict := formula_fault(loss, loss.answers)):
            return verdict
        calls = [c for c in (*loss.calls, *loss.turns) if c.kind in JUDGES]
        if not calls and loss.answers is not None and loss.answers.losses and loss.answers.losses[-1] < loss.answers.losses[0]:
            wrong, right = loss.answers.losses[0], loss.answers.losses[-1]
            return passed(f"The script's own formula gives {wrong:.3g} when all answers are wrong and {right:.3g} when all are right.")
        if not calls:
            return not_run("no loss function was called whose input is known to need a certain form")
        faults = [v for c in calls for v in (_softmax_axis(c) or JUDGES[c.kind](c),) if v]
        if faults:
            return min(faults, key=lambda f: f.severity.rank if f.severity else 0)
        call = calls[0]
        made_by = call.input_activation or call.input_operation
        by = f", made by {made_by}," if made_by else ""
        return passed(
            f"{call.kind} gets values{by} from {call.input_min:.3g} to {call.input_max:.3g}, as it expects.",
            evidence={"loss": call.kind, "activation": call.input_activation, "measured": [call.input_min, call.input_max]},
        )


def _softmax_axis(call: LossCall) -> Verdict | None:
    """Find a softmax that normalises over a single output or over the samples of the batch."""
    activation = call.input_activation
    if activation not in {"softmax", "log_softmax"} or call.batch_size < 2:
        return None
    constant = 1.0 if activation == "softmax" else 0.0
    if call.input_min == call.input_max == constant:
        return _fault(
            call,
            f"{activation} over a single output is always {constant:g}, so {call.kind} has nothing to learn from.",
            Severity.ERROR,
            Fix(summary="Use a sigmoid for a single output, inside the loss.", code="F.binary_cross_entropy_with_logits(logit, target)"),
        )
    if call.input_rows_sum_to_one or call.input_log_probabilities or call.input_activation_axis != 0 or len(call.input_shape) < 2:
        return None
    return _fault(
        call,
        f"{activation} before {call.kind} runs over axis 0, the {call.batch_size} samples of the batch, instead of the classes.",
        Severity.ERROR,
        Fix(
            summary="Normalise over the class axis, or let the loss do it.",
            code="loss = F.cross_entropy(logits, target)",
            edit=_drop(call) if call.kind == "cross_entropy" else None,
        ),
    )


def _cross_entropy(call: LossCall) -> Verdict | None:
    activation, classes = call.input_activation, call.classes or 2
    if activation not in RANGES and call.input_rows_sum_to_one and classes > 1:
        activation = "softmax"
    low, high = RANGES.get(activation or "", (-math.inf, math.inf))
    if math.isfinite(low) and high <= 1:
        # the right class at the upper end and all others at the lower one is the best that is left
        floor = math.log1p((classes - 1) * math.exp(low - high))
        return _fault(
            call,
            f"{activation} before {call.kind}, which applies its own softmax, keeps the logits between {low:g} and {high:g}: "
            f"the loss cannot fall below {floor:.2f} for {classes} classes.",
            Severity.ERROR if low == 0 else Severity.WARNING,
            _logits(call, activation),
        )
    if activation in {"relu", "relu6"}:
        message = f"{activation} before {call.kind} cuts off negative logits; a class whose logit is zero for every sample stops learning."
        return _fault(call, message, Severity.WARNING, _logits(call, activation))
    if activation == "log_softmax":
        message = f"log_softmax before {call.kind} is superfluous: it changes nothing, as the loss applies it again."
        fix = Fix(summary="Return the logits, or use nll_loss.", code="loss = F.nll_loss(log_probabilities, target)", edit=_drop(call))
        return _fault(call, message, Severity.NOTE, fix)
    return None


def _log_probabilities_expected(call: LossCall) -> Verdict | None:
    if call.input_log_probabilities or call.input_activation in {"log_softmax", "log", "logsigmoid"}:
        return None
    if call.input_activation == "softmax" or call.input_rows_sum_to_one:
        return _fault(
            call,
            f"{call.kind} got probabilities ({call.input_min:.2g} to {call.input_max:.2g}, summing to one), but takes their logarithm.",
            Severity.ERROR,
            _log_probabilities(call),
        )
    if call.kind != "kl_div" and call.input_max > ROUNDING:
        return _fault(
            call,
            f"{call.kind} takes log-probabilities, which are never positive, but got raw scores up to {call.input_max:.3g}: "
            "it has no minimum for them.",
            Severity.ERROR,
            _log_probabilities(call),
        )
    return None


def _binary_cross_entropy(call: LossCall) -> Verdict | None:
    logits = Fix(
        summary="Use the loss that takes logits, or apply a sigmoid before this one.",
        code="loss = F.binary_cross_entropy_with_logits(logits, target)",
        edit=None if call.input_activation in RANGES else _swap(call, "binary_cross_entropy_with_logits"),
    )
    if call.input_min < -ROUNDING or call.input_max > 1 + ROUNDING:
        message = f"{call.kind} got values from {call.input_min:.3g} to {call.input_max:.3g}, but takes probabilities between 0 and 1."
        return _fault(call, message, Severity.ERROR, logits)
    if call.input_activation == "relu":
        message = f"relu before {call.kind} gives no probability: nothing keeps it below 1, and at exactly 0 no gradient comes back."
        return _fault(call, message, Severity.WARNING, logits)
    labels = call.input_shape[-1] if len(call.input_shape) == 2 else 0
    if call.input_activation == "softmax" and call.target_mean is not None and call.target_mean * labels > 1.05:
        at_once = call.target_mean * labels
        message = f"softmax makes {labels} outputs share one probability, but {at_once:.1f} labels hold at once on average."
        return _fault(call, message, Severity.WARNING, logits)
    return None


def _binary_logits(call: LossCall) -> Verdict | None:
    low, high = RANGES.get(call.input_activation or "", (-math.inf, math.inf))
    lowest, highest = _sigmoid(low), _sigmoid(high)
    yes = call.target_max is None or call.target_max > 0.5
    no = call.target_min is None or call.target_min < 0.5
    one_sided = (lowest >= NEVER_NO and no) or (highest <= NEVER_YES and yes)
    if not one_sided and not (math.isfinite(low) and math.isfinite(high)):
        return None
    return _fault(
        call,
        f"{call.input_activation} before {call.kind}, which applies its own sigmoid, keeps predicted probabilities between "
        f"{lowest:.2f} and {highest:.2f}.",
        Severity.ERROR if one_sided or (low, high) == (0, 1) else Severity.WARNING,
        _logits(call),
    )


def _real_target(call: LossCall) -> Verdict | None:
    """Find targets that the activation cannot reach."""
    if call.input_activation not in RANGES or call.target_min is None or call.target_max is None or not call.target_std:
        return None
    low, high = RANGES[call.input_activation]
    below, above = low - call.target_min, call.target_max - high
    depth = max(below, above) / call.target_std
    if depth < WARNING_DEPTH:
        return None
    mean = call.target_mean or 0.0
    inside = (mean - low if below >= above else high - mean) / call.target_std
    if call.target_values is not None:
        share = sum(n for v, n in call.target_values.items() if not low <= float(v) <= high) / sum(call.target_values.values())
        many, much = share >= ERROR_SHARE, f"{share:.0%} of the targets"
    else:
        many, much = inside <= NEAR_BOUND, "targets"
    reach = f"below {low:g}" if below >= above else f"above {high:g}"
    return _fault(
        call,
        f"{call.input_activation} before {call.kind} cannot go {reach}, where {much} lie "
        f"(from {call.target_min:.3g} to {call.target_max:.3g}, mean {mean:.3g}).",
        Severity.ERROR if many and depth >= ERROR_DEPTH else Severity.WARNING,
        Fix(
            summary="Leave the output layer without an activation, or scale the target into its range.",
            code="return self.head(x)",
            edit=_drop(call),
        ),
    )


JUDGES: dict[str, Callable[[LossCall], Verdict | None]] = {
    "cross_entropy": _cross_entropy,
    "nll_loss": _log_probabilities_expected,
    "ctc_loss": _log_probabilities_expected,
    "kl_div": _log_probabilities_expected,
    "binary_cross_entropy": _binary_cross_entropy,
    "binary_cross_entropy_with_logits": _binary_logits,
    "mse_loss": _real_target,
    "l1_loss": _real_target,
    "smooth_l1_loss": _real_target,
    "huber_loss": _real_target,
}


def _drop(call: LossCall, activation: str | None = None) -> Edit | None:
    """Leave out the activation where it is applied; one inside another loss function has no line of its own."""
    name = activation or call.input_activation
    return Edit(kind="drop-activation", values={"activation": name}) if name and call.input_activation_where else None


def _swap(call: LossCall, to: str) -> Edit:
    return Edit(kind="swap-loss", at=call.built_where or call.where, values={"loss": call.kind, "to": to})


def _logits(call: LossCall, activation: str | None = None) -> Fix:
    return replace(_LOGITS, edit=_drop(call, activation))


def _log_probabilities(call: LossCall) -> Fix:
    if call.input_activation == "softmax" and call.input_activation_where:
        return replace(_LOG_PROBABILITIES, edit=Edit(kind="log-softmax"))
    raw = call.kind == "nll_loss" and call.input_activation is None and not call.input_rows_sum_to_one
    return replace(_LOG_PROBABILITIES, edit=_swap(call, "cross_entropy") if raw else None)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _fault(call: LossCall, message: str, severity: Severity, fix: Fix) -> Verdict:
    return failed(
        message,
        severity=severity,
        evidence={
            "loss": call.kind,
            "activation": call.input_activation,
            "measured": [call.input_min, call.input_max],
            "targets": [call.target_min, call.target_max],
        },
        location=call.input_activation_where or call.where,
        fix=fix,
    )
