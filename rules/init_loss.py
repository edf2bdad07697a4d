"""The first loss of an untrained model is what guessing would cost.

## What it checks

Every loss function called in the first training step is compared with **chance**: the value the very same call
(weights, label smoothing, `ignore_index` and reduction included) gives for a prediction that knows nothing. That is ln
K for K classes, ln 2 for yes or no, and the variance of the target for a squared error. Calls on one line, as in a loop
over time steps, are judged together.

- *Far above chance*: the model starts out confident and wrong.
- *Far below chance*: an untrained model already knows the answer. Predicting the label frequencies, as a bias set to
  the base rate does, is not counted as knowing.

A loaded model may be as good as it likes; it is only told when it predicts worse than guessing. Logits that are
multiplied by a scale (temperatures, margin losses such as ArcFace), hand-written formulas and runs with several
optimizers are not judged.

## Why it matters

A model that starts far above chance spends its first steps on shrinking its output weights, often with gradients that a
sane learning rate does not survive. A model that starts below chance sees the label in its input, and its validation
score will be too good to be true.

## Example

```python
self.embed = nn.Embedding(vocab, 256)              # N(0, 1) by default
self.head = nn.Linear(256, vocab, bias=False)
self.head.weight = self.embed.weight               # logits with a standard deviation of 16
```

## Fix

Make the layer that produces the logits start small, and normalise the inputs. For a regression, standardise the target
or start the output's bias at its mean.

```python
self.head.weight = self.embed.weight
nn.init.normal_(self.embed.weight, std=0.02)       # the first loss is ln(vocab)
```

## Thresholds

- 1.5 × chance + 0.5 + 1/√n nats for class losses over n scored elements. Logits of an untrained network with standard
  deviation s cost about s²/2 nats more than chance; He initialisation of the last layer gives at most 1. Of 56 public
  example programs, 51 start within 25 % of ln K and the worst healthy one at 1.3 times.
- 0.5 × the smaller of chance and the entropy of the label frequencies, over at least 16 elements: a judgement, far below the healthy programs above.
- 10 × the target's variance (√10 × for errors that grow linearly), and only when outputs or targets are larger than 10:
  an offset of three standard deviations, beyond the unit scale that initialisations are made for. A judgement.
- Predictions that are products of embeddings (matrix factorisation, two towers) have a scale by construction, so they are judged at any
  size of the target: the same 10 × (√10 ×), where embeddings begin with a standard deviation of 0.5 or more (torch: 1) and predictions
  spread 3 times as far as targets. A sum of d products of N(0, 1) has a standard deviation of √d.
- The layer whose weights make the logits is named when they are more than 3 times what keeps the scale (a standard
  deviation of 1/√fan-in); torch's own layers start at 0.58, Xavier and He initialisation at 1 to 1.4.

## References

- Andrej Karpathy, A Recipe for Training Neural Networks, "verify loss @ init" and "init well":
  <https://karpathy.github.io/2019/04/25/recipe/>
- Lin et al., Focal Loss for Dense Object Detection, section 3.3 on starting at the base rate:
  <https://arxiv.org/abs/1708.02002>
- He et al., Delving Deep into Rectifiers: <https://arxiv.org/abs/1502.01852>
- Deng et al., ArcFace, for logits scaled on purpose: <https://arxiv.org/abs/1801.07698>
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from trainlint.details import Bars
from trainlint.finding import Edit, Fix, Json, Severity, Stage
from trainlint.location import Location
from trainlint.measurements import Loss, LossCall
from trainlint.rule import Rule, Verdict, failed, not_run, passed

CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"})
SQUARED_LOSSES = frozenset({"mse_loss"})
LINEAR_LOSSES = frozenset({"l1_loss", "smooth_l1_loss", "huber_loss"})

#: Operations that scale logits on purpose: a temperature, or the radius of a margin loss.
SCALING = frozenset({"mul", "mul_", "div", "div_"})

HIGH_FACTOR = 1.5
HIGH_SLACK = 0.5
LOW_FACTOR = 0.5
LOW_ELEMENTS = 16
REGRESSION_FACTOR = 10.0
UNIT_SCALE = 10.0
LARGE_WEIGHTS = 3.0
#: Embeddings that are multiplied: what they begin with (torch: 1), how far predictions then spread, in spreads of the target, and a good start.
LARGE_TABLES, LOUD, SMALL_TABLES = 0.5, 3.0, 0.05


@dataclass(frozen=True)
class _Site:
    """The calls of one loss function on one line, taken together."""

    call: LossCall
    value: float
    chance: float
    knowing_nothing: float
    """The smaller of chance and of always predicting the label frequencies."""
    elements: int
    calls: int
    nat: float
    """What one nat per element amounts to in ``value``: the number of elements when they are summed."""

    @property
    def ratio(self) -> float:
        return self.value / self.chance

    @property
    def limit(self) -> float:
        """The highest value that an untrained classifier may have."""
        return HIGH_FACTOR * self.chance + (HIGH_SLACK + 1 / math.sqrt(self.elements)) * self.nat


class InitLoss(Rule):
    """Compares the first value of each loss call with chance."""

    code = "TL101"
    name = "init-loss"
    stage = Stage.WIRING
    severity = Severity.WARNING
    summary = "The first loss is what an untrained model should have"
    why = "A start far above chance wastes the first steps on shrinking the outputs; one far below it means that the model sees the answer."
    source = "Karpathy, A Recipe for Training Neural Networks, https://karpathy.github.io/2019/04/25/recipe/"
    requires = (Loss,)
    blocked_by = ("label-range", "output-activation", "loss-shape")

    def judge(self, loss: Loss) -> Verdict:
        """Judge every site; the one furthest from chance speaks."""
        if not loss.calls:
            return not_run("the loss is a formula of the script's own, so what an untrained model should score is not known")
        if loss.optimizers > 1:
            return not_run("several optimizers take turns, so the first loss of one is computed on what another has already changed")
        if not all(math.isfinite(v) for v in (loss.first, *(c.value for c in loss.calls))):
            return not_run("the first loss is not a finite number")
        sites = sorted(_sites(loss.calls), key=lambda s: abs(math.log(max(s.ratio, 1e-9))), reverse=True)
        if not sites:
            kinds = ", ".join(sorted({c.kind for c in loss.calls}))
            return not_run(f"what an untrained model should score is not known for this loss ({kinds})")
        for site in sites:
            if verdict := _too_high(site, loss) or _too_low(site, loss) or _regression_off(site, loss):
                return verdict
        site = sites[0]
        start = "the model" if loss.at_init else f"the model ({loss.not_at_init_because or 'not at its first step'})"
        scaled = ", but its logits are scaled on purpose" if site.value > site.limit and site.call.input_operation in SCALING else ""
        return passed(
            f"The first {site.call.kind} of {start} is {site.value:.3g}; guessing costs {site.chance:.3g}{_how(site)}{scaled}.",
            evidence=_evidence(site, loss),
        )


def _sites(calls: Iterable[LossCall]) -> Iterable[_Site]:
    """Group the calls whose chance is known by function and line."""
    groups: dict[tuple[str, str], list[LossCall]] = {}
    for call in calls:
        log_probabilities = call.kind != "nll_loss" or call.input_log_probabilities
        if call.chance is not None and math.isfinite(call.chance) and call.chance > 1e-9 and log_probabilities:
            groups.setdefault((call.kind, str(call.where)), []).append(call)
    for group in groups.values():
        elements = sum(max(c.elements, 1) for c in group)
        yield _Site(
            call=group[0],
            value=sum(c.value for c in group),
            chance=sum(c.chance or 0.0 for c in group),
            knowing_nothing=sum(min(c.chance or 0.0, math.inf if c.label_entropy is None else c.label_entropy) for c in group),
            elements=elements,
            calls=len(group),
            nat=elements if group[0].reduction == "sum" else len(group),
        )


def _too_high(site: _Site, loss: Loss) -> Verdict | None:
    call = site.call
    if call.kind not in CLASS_LOSSES or site.value <= site.limit or call.input_operation in SCALING:
        return None
    where: Location | None = None
    spread = f" (its outputs have a standard deviation of {call.input_std:.3g})" if call.input_std else ""
    if loss.at_init:
        if (call.output_weight_scale or 0.0) > LARGE_WEIGHTS:
            where = call.output_weight_where
            spread += f"; the weights that make them are {call.output_weight_scale:.1f} times what keeps the scale"
        elif (call.tables_scale or 0.0) >= LARGE_TABLES:
            where = call.tables_where
            spread += f"; they are products of embeddings that begin with one of {call.tables_scale:.2g}"
        message = (
            f"The first {call.kind} is {site.value:.3g}, but guessing costs {site.chance:.3g}{_how(site)}: confident and wrong{spread}."
        )
        summary = (
            "Let the layer that makes the logits start small (with tied weights: the embedding), and check that inputs are normalised."
        )
        code = "nn.init.normal_(model.head.weight, std=0.02)\nnn.init.zeros_(model.head.bias)"
        edit = Edit(kind="embedding-scale", values={"std": 0.02}) if where else None
    else:
        message = (
            f"The first {call.kind} is {site.value:.3g}, worse than the {site.chance:.3g} of guessing{_how(site)}, "
            f"although the model is not new ({loss.not_at_init_because or 'weights were loaded'})."
        )
        summary = "Use the class indices and the preprocessing that the weights were trained with, or start with a new output layer."
        code = "model.head = nn.Linear(model.head.in_features, num_classes)"
        edit = None
    return _failure(site, loss, message, site.limit, Fix(summary=summary, code=code, edit=edit), where)


def _too_low(site: _Site, loss: Loss) -> Verdict | None:
    call, limit = site.call, LOW_FACTOR * site.knowing_nothing
    if call.kind not in CLASS_LOSSES or not loss.at_init or site.elements < LOW_ELEMENTS or site.value >= limit:
        return None
    message = (
        f"The first {call.kind} of an untrained model is {site.value:.3g}, far below the {site.knowing_nothing:.3g} of knowing nothing: "
        "the answer is in its input."
    )
    summary = (
        "Look for the label among the input columns, for targets that are not shifted against the input tokens, "
        "and for weights that were loaded after all."
    )
    return _failure(site, loss, message, limit, Fix(summary=summary, code="inputs, targets = tokens[:, :-1], tokens[:, 1:]"))


def _regression_off(site: _Site, loss: Loss) -> Verdict | None:
    call = site.call
    if call.kind not in SQUARED_LOSSES | LINEAR_LOSSES or not loss.at_init or not call.target_std or call.target_mean is None:
        return None
    factor = REGRESSION_FACTOR if call.kind in SQUARED_LOSSES else math.sqrt(REGRESSION_FACTOR)
    target, output = math.hypot(call.target_mean, call.target_std), math.hypot(call.input_mean, call.input_std)
    tables = loss.at_init and (call.tables_scale or 0.0) >= LARGE_TABLES and call.input_std > LOUD * call.target_std
    if site.ratio <= factor or (max(target, output) <= UNIT_SCALE and not tables):
        return None
    where: Location | None = None
    if tables and output > target / 2:
        message = (
            f"The first {call.kind} is {site.value:.3g}, {site.ratio:.0f} times that of always answering the mean: predictions are sums of "
            f"{call.tables_width} products of embeddings that begin with a standard deviation of {call.tables_scale:.2g}, so they spread by "
            f"{call.input_std:.3g}, targets by {call.target_std:.3g}."
        )
        fix = Fix(
            summary="Let embeddings that are multiplied with each other start small: products of N(0, 1) spread by the root of their number.",
            code=f"nn.init.normal_(embedding.weight, std={SMALL_TABLES})",
            edit=Edit(kind="embedding-scale", values={"std": SMALL_TABLES}) if call.tables_where else None,
        )
        where = call.tables_where
    elif target >= output:
        message = (
            f"The first {call.kind} is {site.value:.3g}, {site.ratio:.0f} times that of always answering the mean: targets lie around "
            f"{call.target_mean:.3g} ± {call.target_std:.3g}, the model starts around {call.input_mean:.3g}."
        )
        fix = Fix(
            summary="Standardise the target with the training set's statistics (undo it when predicting), or start the bias at its mean.",
            code="target = (target - train_mean) / train_std",
        )
    else:
        message = (
            f"The first {call.kind} is {site.value:.3g}, {site.ratio:.0f} times that of always answering the mean: outputs have a standard "
            f"deviation of {call.input_std:.3g} at the start, targets one of {call.target_std:.3g}."
        )
        fix = Fix(
            summary="Normalise the inputs and let the output layer start small.",
            code="nn.init.normal_(model.head.weight, std=0.02)\nnn.init.zeros_(model.head.bias)",
        )
    return _failure(site, loss, message, factor * site.chance, fix, where)


def _failure(site: _Site, loss: Loss, message: str, threshold: float, fix: Fix, where: Location | None = None) -> Verdict:
    bars = Bars(
        title="First loss against chance",
        value_label=site.call.kind,
        labels=("first loss", site.call.chance_how or "guessing"),
        values=(site.value, site.chance),
        highlight=(0,),
    )
    return failed(
        message,
        severity=Severity.WARNING,
        evidence=_evidence(site, loss) | {"threshold": threshold},
        location=where or site.call.where,
        fix=fix,
        details=(bars,),
    )


def _evidence(site: _Site, loss: Loss) -> dict[str, Json]:
    return {"measured": site.value, "expected": site.chance, "loss": site.call.kind, "at_backward": loss.first, "elements": site.elements}


def _how(site: _Site) -> str:
    each = f" for each of {site.calls} calls" if site.calls > 1 else ""
    return f" ({site.call.chance_how}{each})" if site.call.chance_how else ""
