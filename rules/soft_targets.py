"""The loss sees soft and mixed targets as they are.

## What it checks

The way of the targets from the batch to the loss, and whether samples are blended into each other before the first
layer, or by the loader's collate function (one sample is changed, and the rows that change with it are looked at). Each is a **warning**:

- a soft target (mixup, cutmix, smoothing) is made hard before the loss, by an argmax, a cast to integers or rounding;
- inputs are blended, but the loss sees the label of only one of the two samples;
- the loss sees both labels, with their weights exchanged: each has the share of the other's input;
- targets that are smoothed already are smoothed again by `label_smoothing`;
- zeros and ones with several ones in a row (tags) go to `cross_entropy`, which takes them for a distribution.

Labels that a model made (pseudo labels, distillation) are left alone.
`lam * loss(out, a) + (1 - lam) * loss(out, b)` passes, as do blended targets.

## Why it matters

A blend of a cat and a dog that is called a cat is a wrong label, as often as not for the larger part of the picture. The
model learns from noise where it was meant to learn from soft targets, and nothing shows it but a worse result.

## Example

```python
mixed, soft = mixup(images, one_hot(labels))
loss = F.cross_entropy(model(mixed), soft.argmax(1))
```

## Fix

```python
mixed, soft = mixup(images, one_hot(labels))
loss = F.cross_entropy(model(mixed), soft)
```

## Thresholds

- Soft: the largest class has less than 0.99, in at least 5 % of the batch.
- Blended: another sample makes up at least 5 % of a row that enters the first layer. Background noise taken from other
  samples at a low level keeps its label rightly.
- Exchanged: a label's weight is the other input's share to 0.02, and 0.05 or more away from its own. Both come from one number, so they
  agree to rounding where they are right.
- Tags: a row of zeros and ones with a sum above 1.

SamplePairing blends two pictures and keeps the first label on purpose; if that is meant, ignore this rule.

## References

- Zhang et al., mixup: <https://arxiv.org/abs/1710.09412>
- Yun et al., CutMix: <https://arxiv.org/abs/1905.04899>
- Müller et al., When Does Label Smoothing Help?: <https://arxiv.org/abs/1906.02629>
- Inoue, SamplePairing: <https://arxiv.org/abs/1801.02929>
- torch.nn.CrossEntropyLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>
"""

from __future__ import annotations

from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import SoftTargets, TargetCall
from trainlint.rule import Rule, Verdict, failed, passed

BLEND = 0.05
#: How closely a label's weight must meet the other input's share, and how far it must be from its own.
EXACT, APART = 0.02, 0.05


class SoftTargetsRule(Rule):
    """Follows targets to the loss."""

    code = "TL503"
    name = "soft-targets"
    stage = Stage.RECIPE
    severity = Severity.WARNING
    summary = "The loss sees soft and mixed targets as they are"
    why = "A blend that is labelled as one of its parts is a wrong label: the model is taught noise."
    source = "Zhang et al., mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412"
    requires = (SoftTargets,)
    blocked_by = ("label-range",)

    def judge(self, targets: SoftTargets) -> Verdict:
        """Hardened first, then half-mixed, then smoothed twice, then tags."""
        evidence: dict[str, Json] = {
            "hardened_rows": targets.hardened_rows,
            "lost_weight": targets.lost_weight,
            "inputs_mixed": targets.inputs_mixed,
            "labels_mixed": targets.labels_mixed,
            "blend": targets.blend,
        }
        if targets.hardened_by:
            return _hardened(targets, evidence)
        if targets.inputs_mixed and targets.labels_mixed is False and targets.blend >= BLEND:
            return _half_mixed(targets, evidence)
        if targets.own_weight is not None and _swapped(targets.own_weight, 1 - targets.blend):
            return _exchanged(targets, targets.own_weight, evidence)
        for call in targets.calls:
            if call.soft and call.label_smoothing > 0 and call.smoothed_by > 0:
                return _twice(call, evidence)
            if call.soft and call.multi_hot:
                return _tags(call, evidence)
        if targets.inputs_mixed:
            seen = "and the loss sees both labels" if targets.labels_mixed else "by a little, or with a loss that cannot be followed"
            return passed(f"Samples are blended ({targets.blend:.0%} of another one), {seen}.", evidence=evidence)
        if any(call.soft for call in targets.calls):
            return passed("The loss takes the soft targets as they are.", evidence=evidence)
        return passed("Targets are hard, and inputs are not blended.", evidence=evidence)


def _hardened(targets: SoftTargets, evidence: dict[str, Json]) -> Verdict:
    return _failure(
        f"{targets.hardened_by}() makes hard targets of soft ones before the loss: {targets.hardened_rows:.0%} of the samples lose "
        f"{targets.lost_weight / max(targets.hardened_rows, 1e-9):.0%} of their target's weight"
        + (", while their inputs stay blended." if targets.inputs_mixed else "."),
        evidence,
        targets.hardened_where,
        Fix(
            summary="Hand the soft targets to the loss: cross_entropy takes class probabilities, binary_cross_entropy_with_logits any value in [0, 1].",
            code="loss = F.cross_entropy(logits, soft_targets)",
            edit=Edit(kind="soft-target", values={"by": targets.hardened_by}),
        ),
    )


def _half_mixed(targets: SoftTargets, evidence: dict[str, Json]) -> Verdict:
    place = targets.mixed_where if targets.collated else next((c.where for c in targets.calls if c.where), targets.mixed_where)
    at = f" (line {targets.mixed_where.line})" if targets.mixed_where else ""
    return _failure(
        f"Each input is blended with another sample's before the first layer{at}, which makes up {targets.blend:.0%} of it, but the loss "
        "sees the label of one of the two only.",
        evidence,
        place,
        Fix(
            summary="Weigh the losses for both labels as the inputs were weighed.",
            code="loss = lam * criterion(logits, target_a) + (1 - lam) * criterion(logits, target_b)",
            edit=Edit(kind="mix-losses", values={"loss": next((c.kind for c in targets.calls if c.where == place), "cross_entropy")}),
        ),
    )


def _swapped(weight: float, share: float) -> bool:
    """Whether a label weighs what the other sample makes up, where the two can be told apart."""
    return abs(weight - (1 - share)) < EXACT and abs(weight - share) > APART


def _exchanged(targets: SoftTargets, weight: float, evidence: dict[str, Json]) -> Verdict:
    return _failure(
        f"The weights of the two labels are exchanged: a sample makes up {1 - targets.blend:.0%} of its blended input, but its label weighs {weight:.0%}.",
        evidence | {"measured": weight, "expected": 1 - targets.blend, "threshold": APART},
        targets.labels_where or next((c.where for c in targets.calls if c.where), targets.mixed_where),
        Fix(
            summary="Give each label the share of its own input.",
            code="x = lam * x + (1 - lam) * x[index]\n"
            + (
                "y = lam * y + (1 - lam) * y[index]"
                if targets.collated
                else "loss = lam * criterion(logits, y) + (1 - lam) * criterion(logits, y[index])"
            ),
            edit=None if targets.collated else Edit(kind="swap-shares"),
        ),
    )


def _twice(call: TargetCall, evidence: dict[str, Json]) -> Verdict:
    return _failure(
        f"The targets are smoothed by {call.smoothed_by:.2g} already, and label_smoothing={call.label_smoothing:g} smooths them again.",
        evidence | {"measured": call.smoothed_by, "label_smoothing": call.label_smoothing},
        call.where,
        Fix(
            summary="Smooth once: in the targets or in the loss.",
            code="criterion = nn.CrossEntropyLoss()",
            edit=Edit(kind="label-smoothing", values={"loss": call.kind}),
        ),
    )


def _tags(call: TargetCall, evidence: dict[str, Json]) -> Verdict:
    return _failure(
        f"cross_entropy gets targets with several ones in a row ({call.row_sum:.2g} on average), which it takes for a distribution over classes.",
        evidence | {"measured": call.row_sum, "expected": 1.0},
        call.where,
        Fix(
            summary="Tags that may hold together take a sigmoid each.",
            code="loss = F.binary_cross_entropy_with_logits(logits, tags)",
            edit=Edit(kind="swap-loss", values={"loss": call.kind, "to": "binary_cross_entropy_with_logits"}),
        ),
    )


def _failure(message: str, evidence: dict[str, Json], where: Location | None, fix: Fix) -> Verdict:
    return failed(message, severity=Severity.WARNING, evidence=evidence, location=where, fix=fix)
