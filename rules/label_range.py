"""Labels fit the outputs: every label has an output, and every output can get a label.

## What it checks

The targets of each class loss, in the first training step and, where the loader hands them to the loss unchanged, over
the labels of the whole data set (up to the budget):

- class indices below 0 or at K and above, for K outputs (`ignore_index` left out); a note when only validation has
  them;
- labels that run from 1 to K - 1, so that output 0 is never trained: labels counted from one;
- a class loss over a single output, which is always 0;
- floating-point labels where class indices are needed, soft labels outside [0, 1];
- targets outside [0, 1] for a binary cross-entropy, such as -1 and 1, 1 and 2, 0 and 255, or standardised images;
- targets other than -1 and 1 for the losses over pairs, `cosine_embedding_loss`, `margin_ranking_loss`,
  `hinge_embedding_loss` and `soft_margin_loss`;
- labels equal to the blank of `ctc_loss`, without an output, or more of them than time steps;
- outputs beyond the highest label.

Values just outside [0, 1] with several optimizers (one-sided soft labels of GANs), targets that a mask may drop after
`reduction="none"`, and token vocabularies, which may hold reserved ids, are left alone.

## Why it matters

An index at K or above crashes, on a GPU as an unreadable device-side assert in the middle of an epoch. Adding an output
to silence it shifts every prediction by one. A binary cross-entropy has no minimum for targets outside [0, 1]: the
logits run away. A loss over pairs that gets 0 for "different" counts those pairs for nothing, without an error. A label that is CTC's
blank can never be read out.

## Example

```python
ratings = torch.tensor(table["stars"].values)      # 1 ... 5
num_classes = int(ratings.max()) + 1               # 6 outputs, the first is never trained
```

## Fix

Count labels from zero, with as many outputs as there are classes.

```python
ratings = torch.tensor(table["stars"].values) - 1  # 0 ... 4
num_classes = 5
```

## Thresholds

- [0, K) for class indices and [0, 1] for binary targets: PyTorch's documentation.
- 30 labels per output before an absent label counts: a class of a tenth of the average share is then missed with
  probability e⁻³ = 5 %; less common ones are only judged after a complete pass.
- 0.5 beyond [0, 1] for an error with binary targets. One-sided soft labels up to 1.2 are customary in GANs, and
  interpolated images overshoot by less. 0.01 for a warning, above rounding of half-precision images.

- -1 and 1 for losses over pairs, and a blank that is no label: PyTorch's documentation. Half of the sequences too short is an error.

## References

- PyTorch, CosineEmbeddingLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html>
- PyTorch, CTCLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.CTCLoss.html>
- PyTorch, CrossEntropyLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>
- PyTorch, BCEWithLogitsLoss: <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html>
- Chintala et al., How to train a GAN, tip 6 on soft labels: <https://github.com/soumith/ganhacks>
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from trainlint.details import Bars
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Batches, DataScan, Loss, LossCall
from trainlint.rule import Rule, Verdict, failed, not_run, passed
from trainlint_rules._other_targets import PAIR_LOSSES, ctc_faults, pair_faults

INDEX_LOSSES = frozenset({"cross_entropy", "nll_loss"})
BINARY_LOSSES = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})

LABELS_PER_OUTPUT = 30
BINARY_ERROR = 0.5
BINARY_WARNING = 0.01
ONE_SIDED = 0.25
PROBABILITY_SLACK = 1e-3
BARS = 60


@dataclass(frozen=True)
class _Labels:
    """Class indices of one phase, without the ignored one."""

    phase: str
    counts: dict[int, int]
    complete: bool
    source: str
    where: Location | None = None
    """What made them."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class LabelRange(Rule):
    """Compares targets with what the loss can score."""

    code = "TL102"
    name = "label-range"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "Labels are class indices that the outputs can answer"
    why = "A label without an output crashes, labels counted from one shift every prediction, binary targets beyond [0, 1] have no minimum."
    source = "PyTorch, CrossEntropyLoss, https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html"
    requires = (Loss, Batches, DataScan)

    def judge(self, loss: Loss, batches: Batches, scan: DataScan) -> Verdict:
        """Collect what is wrong with each call and report the worst."""
        calls = [c for c in loss.calls if c.kind in INDEX_LOSSES | BINARY_LOSSES | PAIR_LOSSES.keys() | {"ctc_loss"}]
        if not calls:
            return not_run("no loss over classes was called")
        faults = [f for c in calls for f in _faults(c, loss, batches, scan)]
        if faults:
            return min(faults, key=lambda f: f.severity.rank if f.severity else 0)
        call = calls[0]
        outputs = f" and there are {call.classes} outputs" if call.classes else ""
        return passed(
            f"Targets of {call.kind} go from {_shown(call.target_min)} to {_shown(call.target_max)}{outputs}.",
            evidence={"measured": [call.target_min, call.target_max], "outputs": call.classes},
        )


def _shown(value: float | None) -> str:
    """A class index without the decimals of its measurement."""
    return "unknown" if value is None else f"{value:g}"


def _faults(call: LossCall, loss: Loss, batches: Batches, scan: DataScan) -> Iterator[Verdict]:
    if call.kind in INDEX_LOSSES:
        yield from _index_faults(call, batches, scan)
    elif call.kind in BINARY_LOSSES:
        yield from _binary_faults(call, loss, _made(call, batches))
    else:
        for message, severity, fix in pair_faults(call) if call.kind in PAIR_LOSSES else ctc_faults(call):
            verdict = _fail(call, message, severity, fix)  # what CTC is built with is wrong, but the targets of pairs
            yield replace(verdict, location=call.built_where or call.where) if call.kind == "ctc_loss" else verdict


def _index_faults(call: LossCall, batches: Batches, scan: DataScan) -> Iterator[Verdict]:
    if call.classes == 1:
        yield _fail(
            call,
            f"{call.kind} is called with one output per sample, for which it is always 0: nothing is learned.",
            Severity.ERROR,
            Fix(
                summary="Use one output per class, or a binary cross-entropy with one output.",
                code="loss = F.binary_cross_entropy_with_logits(logits.squeeze(1), target.float())",
            ),
        )
        return
    if call.target_is_probabilities:
        yield from _soft_faults(call)
        return
    if "float" in call.target_dtype:
        yield _fail(
            call,
            f"{call.kind} got {call.target_dtype.removeprefix('torch.')} labels of shape {call.target_shape}; it takes class indices.",
            Severity.ERROR,
            Fix(summary="Turn the labels into integer class indices.", code="target = target.long()", edit=_target(call, "{}.long()")),
        )
        return
    if call.classes is None:
        return
    first = _first_batch(call)
    seen = [first, *_scanned(call, batches, scan)]
    outside = [fault for labels in seen if labels.counts for fault in _outside(call, labels, call.classes)]
    yield from outside
    train = max((s for s in seen if s.phase == "train"), key=lambda s: s.total)
    if not outside and train.counts and _one_label_per_sample(call, batches):
        yield from _unused(call, train, call.classes)


def _soft_faults(call: LossCall) -> Iterator[Verdict]:
    low, high = call.target_min or 0.0, call.target_max or 0.0
    if low < -PROBABILITY_SLACK or high > 1 + PROBABILITY_SLACK:
        yield _fail(
            call,
            f"{call.kind} reads floating-point targets of the outputs' shape as probabilities, but they go from {low:.3g} to {high:.3g}.",
            Severity.WARNING,
            Fix(summary="Pass probabilities that sum to one, or class indices.", code="target = target.softmax(dim=1)"),
        )


def _outside(call: LossCall, labels: _Labels, outputs: int) -> Iterator[Verdict]:
    """Find labels that no output answers; validation may count on its own, a later batch may drop negative ones before the loss."""
    low, high = min(labels.counts), max(labels.counts)
    if low >= 0 and high < outputs:
        return
    if labels.phase == "val":
        severity = Severity.NOTE
    else:
        severity = Severity.ERROR if labels.source == "batch" or high >= outputs else Severity.WARNING
    where = "the first batch" if labels.source == "batch" else {"train": "the training data", "val": "the validation data"}[labels.phase]
    if low == 1 and high == outputs:
        edit = Edit(kind="count-from-zero") if labels.where else Edit(kind="target", values={"loss": call.kind, "to": "{} - 1"})
        fix = Fix(summary="Labels are counted from one: count them from zero.", code="target = target - 1", edit=edit)
    elif high >= outputs:
        fix = Fix(summary=f"Give the model {high + 1} outputs, or map the labels to 0 ... {outputs - 1}.", code=f"num_classes = {high + 1}")
    else:
        fix = Fix(
            summary="Leave these samples out, or tell the loss which label to ignore.",
            code=f"F.cross_entropy(logits, target, ignore_index={low})",
        )
    yield _fail(
        call,
        f"Labels in {where} go from {low} to {high}, but {outputs} outputs can only answer 0 to {outputs - 1}.",
        severity,
        fix,
        labels,
    )


def _unused(call: LossCall, labels: _Labels, outputs: int) -> Iterator[Verdict]:
    """Find outputs that no label of enough samples ever asks for."""
    low, high = min(labels.counts), max(labels.counts)
    enough = labels.complete or labels.total >= LABELS_PER_OUTPUT * outputs
    if not enough or low == high:
        return
    if low == 1 and high == outputs - 1 and call.ignore_index != 0:
        yield _fail(
            call,
            f"Labels run from 1 to {high} in {labels.total} samples while the model has {outputs} outputs: output 0 is never trained, "
            "so labels seem to be counted from one.",
            Severity.WARNING,
            Fix(
                summary=f"Count labels from zero and give the model {outputs - 1} outputs; predicted indices then match a list of names.",
                code=f"target = target - 1\nnum_classes = {outputs - 1}",
                edit=Edit(kind="count-from-zero") if labels.where else None,
            ),
            labels,
        )
    elif high + 1 < outputs:
        yield _fail(
            call,
            f"Labels run from {low} to {high} in {labels.total} samples, so {outputs - high - 1} of {outputs} outputs are never asked for.",
            Severity.NOTE,
            Fix(summary="Give the model as many outputs as there are classes.", code=f"num_classes = {high + 1}"),
            labels,
        )


def _made(call: LossCall, batches: Batches) -> Location | None:
    """Where a dataset makes the targets, when they reach the loss as they are."""
    leaves = batches.train[0].leaves if batches.train else ()
    ends = (call.target_min, call.target_max)
    made = [
        leaf.made_where
        for leaf in leaves
        if leaf.role == "target" and leaf.shape == call.target_shape and (leaf.minimum, leaf.maximum) == ends
    ]
    return made[0] if len(made) == 1 else None


def _binary_faults(call: LossCall, loss: Loss, made: Location | None) -> Iterator[Verdict]:
    if call.target_min is None or call.target_max is None or call.reduction == "none":
        return
    low, high = call.target_min, call.target_max
    beyond = max(-low, high - 1)
    if beyond <= (ONE_SIDED if loss.optimizers > 1 else BINARY_WARNING):
        return
    verdict = _fail(
        call,
        f"{call.kind} got targets from {low:.3g} to {high:.3g}; outside [0, 1] it has no minimum, so the outputs run away.",
        Severity.ERROR if beyond >= BINARY_ERROR and not call.weighted else Severity.WARNING,
        _binary_fix(call, low, high),
    )
    yield replace(verdict, location=made or call.where)


def _binary_fix(call: LossCall, low: float, high: float) -> Fix:
    values = set() if call.target_values is None else {float(v) for v in call.target_values}
    if values and values <= {-1.0, 1.0}:
        return Fix(summary="Turn -1 and 1 into 0 and 1.", code="target = (target + 1) / 2", edit=_target(call, "({} + 1) / 2"))
    if values and values <= {1.0, 2.0}:
        return Fix(summary="Turn 1 and 2 into 0 and 1.", code="target = target - 1", edit=_target(call, "{} - 1"))
    if low >= 0 and 200 < high <= 255:
        return Fix(summary="Scale 0 ... 255 to 0 ... 1.", code="target = target / 255", edit=_target(call, "{} / 255"))
    return Fix(summary="Scale targets to [0, 1], or use a loss for real numbers.", code="loss = F.mse_loss(output, target)")


def _target(call: LossCall, to: str) -> Edit:
    return Edit(kind="target", at=call.where, values={"loss": call.kind, "to": to})


def _first_batch(call: LossCall) -> _Labels:
    """Count what the loss call itself saw; only the ends of the range when there are too many values."""
    if call.target_values is not None:
        counts = {int(float(v)): n for v, n in call.target_values.items()}
    else:
        counts = {int(v): 1 for v in (call.target_min, call.target_max) if v is not None and math.isfinite(v)}
    return _Labels("train", {v: n for v, n in counts.items() if v != call.ignore_index}, complete=False, source="batch")


def _scanned(call: LossCall, batches: Batches, scan: DataScan) -> Iterator[_Labels]:
    """Labels of the whole data set, when the loader's labels reached the loss as they are (not shifted, mapped or cut)."""
    made = {
        leaf.path: leaf.made_where
        for leaf in (batches.train[0].leaves if batches.train else ())
        if leaf.kind in {"labels", "mask"}
        and leaf.shape == call.target_shape
        and leaf.minimum == call.target_min
        and leaf.maximum == call.target_max
    }
    for count in scan.labels:
        if count.path in made and count.integer:
            counts = {int(float(v)): n for v, n in count.counts.items()}
            kept = {v: n for v, n in counts.items() if v != call.ignore_index}
            yield _Labels(count.phase, kept, complete=count.complete, source="scan", where=made[count.path])


def _one_label_per_sample(call: LossCall, batches: Batches) -> bool:
    """Tell a plain class per sample from tokens, whose vocabularies hold reserved ids, and from masks."""
    leaves = batches.train[0].leaves if batches.train else ()
    return any(leaf.kind == "labels" and leaf.shape == call.target_shape for leaf in leaves)


def _fail(call: LossCall, message: str, severity: Severity, fix: Fix, labels: _Labels | None = None) -> Verdict:
    evidence: dict[str, Json] = {"loss": call.kind, "measured": [call.target_min, call.target_max], "outputs": call.classes}
    details: tuple[Bars, ...] = ()
    if labels is not None and call.classes is not None:
        evidence |= {"measured": [min(labels.counts), max(labels.counts)], "expected": [0, call.classes - 1], "labels": labels.total}
        shown = sorted(set(labels.counts) | set(range(min(call.classes, BARS))))[:BARS]
        details = (
            Bars(
                title=f"Labels seen ({labels.phase}), one bar per output or label",
                value_label="samples",
                labels=tuple(str(v) for v in shown),
                values=tuple(float(labels.counts.get(v, 0)) for v in shown),
                highlight=tuple(i for i, v in enumerate(shown) if not 0 <= v < call.classes or v not in labels.counts),
            ),
        )
    return failed(
        message, severity=severity, evidence=evidence, location=(labels.where if labels else None) or call.where, fix=fix, details=details
    )
