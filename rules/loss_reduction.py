"""The loss that reaches backward() is a mean, or the learning rate is made for a sum.

## What it checks

The first training step's loss calls against the value that reached `backward()`: a call with `reduction="sum"` that
nobody divides, or a mean that is multiplied by the batch size again, scales the gradient. With SGD that scales the
step, and the learning rate is judged as it acts: configured rate × how much more than a mean over samples reaches
`backward()`.

A sum that is divided later (by the batch size, or by the number of tokens, as Hugging Face models do), and sums under
optimizers that normalise the gradient (Adam, RMSprop, Adagrad and their kin), as is usual for variational autoencoders,
are fine. A sum over the batch that is added to a mean, as a divergence beside a reconstruction error, gets a **warning** when it
is more than half of the first loss. So does the KL divergence of a variational autoencoder that is summed over the latent values while the
reconstruction beside it is a mean over the many values of a sample, unless a small factor makes up for that. A mean that is divided by the batch size again gets a **warning** where SGD's rate, divided as well, falls
below 0.01. `kl_div` with `reduction="mean"` gets a note: it divides by the number of classes as well.

A loss that is not divided by the number of accumulated batches is the business of `gradient-accumulation`.

## Why it matters

A sum over 32 samples acts like a learning rate 32 times as high; over pixels or tokens, thousands of times. Every
change of the batch size changes the step, the last, smaller batch of an epoch has a smaller one, and learning rates
found in papers do not apply.

## Example

```python
criterion = nn.MSELoss(reduction="sum")
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
```

## Fix

Use the mean, or divide by the number of samples.

```python
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
```

## Thresholds

- 1 for the learning rate as it acts: rates of SGD on a mean loss are "less than 1 and greater than 10⁻⁶" (Bengio,
  section 3.1.1).
- 10 × the first value, or not finite, within the recorded steps: the loss has diverged. Batches differ by less; to be
  calibrated.
- Half of the first loss for a sum beside a mean: the larger part decides what is learned. Factors below 0.1 are taken for a weight.
- 10 times what the divergence weighs in the evidence bound, where its factor is 0.5 or more: the weight is the number of values that the
  reconstruction is a mean over (half of it for a squared error, a normal likelihood of unit variance). On scikit-learn's digits latent
  values carry nothing (below 0.01 nats) from 4 times on; pictures whose values hang together stand more.
- 0.01 for a mean divided again: the rate that Bengio gives as the usual default; batches of 4 or more, and as many
  accumulated batches would be another reason.
- Twice the mean over samples: less is a matter of weighting terms.

## References

- Bengio, Practical Recommendations for Gradient-Based Training of Deep Architectures: <https://arxiv.org/abs/1206.5533>
- Kingma and Welling, Auto-Encoding Variational Bayes (the bound): <https://arxiv.org/abs/1312.6114>
- Higgins et al., beta-VAE, on the factor: <https://openreview.net/forum?id=Sy2fzU9gl>
- Goyal et al., Accurate, Large Minibatch SGD, section 2 on the learning rate and the batch size, section 3 on how a
  loss is normalised: <https://arxiv.org/abs/1706.02677>
- PyTorch, KLDivLoss, on `reduction="batchmean"`:
  <https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html>
"""

from __future__ import annotations

import math

from trainlint.details import Line, Series
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.measurements import Loop, Loss, LossCall, OptimizerInfo, Optimizers
from trainlint.rule import Rule, Verdict, failed, not_run, passed

HIGHEST_RATE = 1.0
DIVERGED = 10.0
SCALED = 2.0
#: Share of the first loss from which a summed term drowns a mean.
DROWNED = 0.5
#: How much more than in the evidence bound a divergence may weigh, and a factor below which somebody has weighed it.
OUTWEIGHED, UNWEIGHTED = 10.0, 0.5
#: A batch so small that its size may be another divisor by chance; a rate that hardly trains anything with SGD.
FEW, LOWEST_RATE = 4, 0.01


class LossReduction(Rule):
    """Compares the value at backward() with the mean over samples."""

    code = "TL105"
    name = "loss-reduction"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "The loss is a mean over samples, or the learning rate is made for a sum"
    why = "With SGD a summed loss multiplies every step by the number of samples, and by another one whenever the batch size changes."
    source = "Bengio, Practical Recommendations for Gradient-Based Training of Deep Architectures, https://arxiv.org/abs/1206.5533"
    requires = (Loss, Optimizers, Loop)

    def judge(self, loss: Loss, optimizers: Optimizers, loop: Loop) -> Verdict:
        """Find the call that is scaled most, and ask whether the optimizer minds."""
        if not loss.calls:
            return not_run("the loss is a formula of the script's own, so it is not known how it is reduced")
        if not math.isfinite(loss.first):
            return not_run("the first loss is not a finite number")
        summed = {(c.kind, str(c.where)) for c in loss.calls if c.reduction == "sum"}
        call = max(loss.calls, key=lambda c: _scale(c, loss))
        scale = _scale(call, loss)
        if scale < SCALED:
            if verdict := _outweighed(loss) or _collapsing(loss):
                return verdict
            if verdict := _divided_again(call, loss, _sgd(optimizers), loop):
                return verdict
            divided = " once it is divided" if summed else ""
            return _batch_mean(loss) or passed(
                f"The loss at backward(), {loss.first:.3g}, is a mean{divided}.", evidence=_evidence(call, loss, scale)
            )
        sgd = _sgd(optimizers)
        if sgd is None:
            names = ", ".join(sorted({o.kind for o in optimizers.optimizers})) or "the optimizer"
            return passed(
                f"The loss is summed ({scale:.0f} times its mean), which {names} makes up for.", evidence=_evidence(call, loss, scale)
            )
        return _judge_sgd(call, loss, scale, max(g.lr for g in sgd.groups))


def _scale(call: LossCall, loss: Loss) -> float:
    """How many times the mean over samples of this call reaches backward(); 1 for a mean."""
    if not call.value > 0 or loss.first <= 0:
        return 1.0
    ratio = loss.first / call.value
    if call.reduction == "sum":
        return call.batch_size * min(ratio, 1.0)
    return (
        float(call.batch_size)
        if call.batch_size > 1 and len(loss.calls) == 1 and math.isclose(ratio, call.batch_size, rel_tol=1e-3)
        else 1.0
    )


def _sgd(optimizers: Optimizers) -> OptimizerInfo | None:
    """Find an optimizer whose step grows with the gradient."""
    return next((o for o in optimizers.optimizers if o.groups and o.kind.upper().startswith(("SGD", "ASGD", "NESTEROV"))), None)


def _judge_sgd(call: LossCall, loss: Loss, scale: float, lr: float) -> Verdict:
    acts = lr * scale
    per_element = acts * max(call.elements, 1) / max(call.batch_size, 1)
    later = loss.values[1:]
    diverged = any(not math.isfinite(v) or v > DIVERGED * loss.first for v in later)
    over = (
        f"sums over {call.elements} elements" if call.reduction == "sum" else f"multiplies its mean by the batch size of {call.batch_size}"
    )
    evidence = _evidence(call, loss, scale) | {"lr": lr, "lr_as_it_acts": acts, "threshold": HIGHEST_RATE}
    if diverged and per_element > HIGHEST_RATE:
        worst = max(later, key=lambda v: v if math.isfinite(v) else math.inf)
        message = (
            f"The loss {over}, so SGD with a learning rate of {lr:g} steps {scale:.0f} times as far as with a mean per sample, "
            f"and it went from {loss.first:.3g} to {worst:.3g} within {len(loss.values)} steps."
        )
        severity = Severity.ERROR
    elif acts > HIGHEST_RATE:
        message = f"The loss {over}, so SGD's learning rate of {lr:g} acts like {acts:.3g}; above {HIGHEST_RATE:g} it rarely trains."
        severity = Severity.WARNING
    else:
        return passed(f"The loss {over}, and SGD's learning rate of {lr:g} is made for it (acts like {acts:.3g}).", evidence=evidence)
    if call.reduction == "sum":
        summary = "Take the mean, or divide the sum by the number of samples; then the learning rate means what it means elsewhere."
        edit = Edit(kind="reduction", values={"loss": call.kind, "reduction": "mean"})
        fix = Fix(summary=summary, code=f'loss = F.{call.kind}(pred, target)  # reduction="mean"', edit=edit)
    else:
        fix = Fix(
            summary="Send the mean to backward(); multiply only the copy that you log.",
            code="loss.backward()\ntotal += loss.item() * len(x)",
        )
    steps = tuple(float(i + 1) for i in range(len(loss.values)))
    curve = Series(
        title="Loss at backward()", x_label="step", y_label="loss", lines=(Line(name="loss", x=steps, y=loss.values),), log_y=True
    )
    return failed(
        message,
        severity=severity,
        evidence=evidence,
        location=call.built_where or call.where,
        fix=fix,
        details=(curve,) if len(steps) > 1 else (),
    )


def _outweighed(loss: Loss) -> Verdict | None:
    """A sum over the batch that is added to a mean and drowns it."""
    if loss.summed_where is None or loss.summed_share < DROWNED:
        return None
    call = loss.calls[0]
    return failed(
        f"A sum over the whole batch is added to {call.kind}, which is a mean: the sum makes up {loss.summed_share:.0%} of the first loss and outweighs "
        f"it further with every sample of a batch ({call.batch_size} here).",
        severity=Severity.WARNING,
        evidence=_evidence(call, loss, 1.0) | {"measured": loss.summed_share, "expected": "terms reduced alike", "threshold": DROWNED},
        location=loss.summed_where,
        fix=Fix(
            summary="Reduce all terms alike: sum each over what belongs to a sample, then take the mean over the samples.",
            code='reconstruction = F.mse_loss(output, x, reduction="sum") / len(x)\nkl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()',
        ),
    )


def _collapsing(loss: Loss) -> Verdict | None:
    """A divergence that is summed over the latent values, beside a reconstruction that is a mean over many; a small factor makes up for that."""
    if loss.divergence_excess < OUTWEIGHED or loss.divergence_factor < UNWEIGHTED:
        return None
    call = next((c for c in loss.calls if c.where == loss.divergence_beside), loss.calls[0])
    values = max(1, call.elements // max(call.batch_size, 1))
    return failed(
        f"{call.kind} is a mean over the {values} values of a sample, but the KL divergence beside it is a sum over the latent ones: it weighs "
        f"{loss.divergence_excess:.0f} times what it does in the evidence bound, and the easiest way to lower the loss is to encode nothing.",
        severity=Severity.WARNING,
        evidence=_evidence(call, loss, 1.0)
        | {"measured": loss.divergence_excess, "expected": 1.0, "threshold": OUTWEIGHED, "factor": loss.divergence_factor},
        location=loss.divergence_beside or loss.divergence_where,
        fix=Fix(
            summary="Sum the reconstruction over the values of a sample too, and take the mean over the samples only.",
            code=f'reconstruction = F.{call.kind}(output, x, reduction="sum") / len(x)',
        ),
    )


def _divided_again(call: LossCall, loss: Loss, sgd: OptimizerInfo | None, loop: Loop) -> Verdict | None:
    """A mean that is divided by the batch size once more; dividing by the steps of an accumulation is right."""
    n = call.batch_size
    again = len(loss.calls) == 1 and call.reduction == "mean" and loss.first > 0 and math.isclose(call.value / loss.first, n, rel_tol=1e-3)
    if not again or n < FEW or loop.accumulation == n or not loop.steps or sgd is None:
        return None
    lr = max(g.lr for g in sgd.groups)
    if lr / n >= LOWEST_RATE:
        return None
    return failed(
        f"{call.kind} is a mean already and is divided by the batch size of {n} once more, so SGD's learning rate of {lr:g} acts like {lr / n:.2g}.",
        severity=Severity.WARNING,
        evidence=_evidence(call, loss, 1 / n) | {"lr": lr, "lr_as_it_acts": lr / n, "threshold": LOWEST_RATE},
        location=loss.formula_where or call.where,
        fix=Fix(summary="Send the mean to backward() as it is.", code="loss = criterion(model(x), y)\nloss.backward()"),
    )


def _batch_mean(loss: Loss) -> Verdict | None:
    for call in loss.calls:
        if call.kind == "kl_div" and call.reduction == "mean":
            return failed(
                'kl_div with reduction="mean" divides by the number of classes too, so it is less than the divergence by that factor.',
                severity=Severity.NOTE,
                evidence=_evidence(call, loss, 1.0),
                location=call.where,
                fix=Fix(
                    summary="Divide by the batch size only.",
                    code='F.kl_div(log_p, q, reduction="batchmean")',
                    edit=Edit(kind="reduction", values={"loss": call.kind, "reduction": "batchmean"}),
                ),
            )
    return None


def _evidence(call: LossCall, loss: Loss, scale: float) -> dict[str, Json]:
    return {
        "loss": call.kind,
        "reduction": call.reduction,
        "at_call": call.value,
        "measured": loss.first,
        "expected": loss.first / scale,
        "elements": call.elements,
        "batch_size": call.batch_size,
    }
