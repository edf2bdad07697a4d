"""Finds gradients that fade on their way back to the first layers.

## What it checks

Gradients as root mean square over the elements of a parameter, the largest of the recorded steps, in the order in which the forward
uses the parameters, for each optimizer's network. The largest in the first third of the network is compared with the median of the
weight matrices in its last third.

- **Error**: every gradient is exactly zero in all recorded steps.
- **Error**: nothing in the first third gets a thousandth of what the last third gets, nor 1e-8 an element, below which even Adam's
  division by the gradient's own size gives up.
- **Warning**: nothing in the first third gets a thousandth.

One early parameter with a sound gradient is enough to pass, since the way back is open then: zero-initialised residual branches and
LayerScale (1e-6) make the gradients within branches small, but not those of the stem or the embeddings. Layers that get nothing in the
first step, where a layer starts at zero, are left out: their gradients come through it and are small until it has grown. A network whose output layer
starts at zero is not judged: all gradients before it start at zero by design.

## Why it matters

Backpropagation multiplies the gradient by each layer's slope. A sigmoid's is 0.25 at most, so twelve sigmoid layers leave less than a
ten-millionth. The last layers learn from features that stay random.

## Example

```python
for _ in range(12):
    blocks += [nn.Linear(128, 128), nn.Sigmoid()]
```

## Fix

ReLU-like activations with a fitting initialisation, normalisation in each block, or residual connections.

```python
for _ in range(12):
    blocks += [nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU()]
```

## Thresholds

- A thousandth: calibrated over 20 sound networks (ResNet, EfficientNet, ViT with LayerScale, CaiT, ConvNeXt, plain networks with ReLU
  and tanh of up to 15 layers), whose smallest ratio was 0.016, and 0.003 for three hidden sigmoid layers; five of these have 0.0003,
  seven 5e-6, a plain ReLU network of 20 layers has 0.0005.
- 1e-8: Adam's epsilon (Kingma and Ba 2015); a gradient below it is divided by epsilon, not by its own size.

## References

- Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks:
  https://proceedings.mlr.press/v9/glorot10a.html
- Bengio, Simard and Frasconi 1994, Learning long-term dependencies with gradient descent is difficult: https://doi.org/10.1109/72.279181
- Kingma and Ba 2015, Adam: https://arxiv.org/abs/1412.6980
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from trainlint.details import Bars
from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import ParameterInfo, Parameters
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: First layers' gradient over the last layers', below which it counts as vanished.
VANISHED = 1e-3
#: Adam's epsilon: root mean square of a gradient below which no optimizer makes up for its size.
EPSILON = 1e-8
#: Weight matrices needed to speak of first and last ones.
FEWEST = 3


@dataclass(frozen=True)
class Depth:
    """Gradients of one network from input to output, as root mean square over the elements, the largest of the recorded steps."""

    layers: tuple[ParameterInfo, ...]
    """Its weight matrices."""
    sizes: tuple[float, ...]
    """Their gradients."""
    first: float
    """The largest gradient of any parameter up to the end of the first third of the matrices."""

    @property
    def third(self) -> int:
        """A third of the weight matrices."""
        return max(1, len(self.sizes) // 3)

    @property
    def last(self) -> float:
        """Median of the last third."""
        return statistics.median(self.sizes[-self.third :])

    @property
    def ratio(self) -> float:
        """What arrives at the first layers of what the last ones get."""
        return self.first / self.last

    @property
    def growth(self) -> float:
        """How much larger the first layers' gradients are than the largest of the last ones."""
        largest = max(self.sizes[-self.third :])
        return statistics.median(self.sizes[: self.third]) / largest if largest else 0.0

    def bars(self) -> Bars:
        """Draw one bar a layer."""
        return Bars(
            title="Size of the gradient, from input to output",
            value_label="gradient, root mean square",
            labels=tuple(p.name for p in self.layers),
            values=self.sizes,
            log=True,
        )


class GradientVanishing(Rule):
    """Gradients that fade towards the input."""

    code = "TL307"
    name = "gradient-vanishing"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "The first layers receive gradients of the same order as the last"
    why = "Backpropagation multiplies by each layer's slope; where the product vanishes, the first layers stay random."
    source = "Glorot and Bengio 2010: https://proceedings.mlr.press/v9/glorot10a.html"
    requires = (Parameters,)
    blocked_by = ("no-gradient", "non-finite", "train-mode")

    def judge(self, parameters: Parameters) -> Verdict:
        """Ask what of the last third's gradients arrives in the first third of each network."""
        norms = parameters.total_norms
        if len(norms) >= 2 and not any(norms):
            return failed(
                f"Every gradient is exactly zero in all {len(norms)} recorded steps: no weight can change.",
                severity=Severity.ERROR,
                evidence={"measured": 0.0, "steps": len(norms)},
                location=parameters.model_where,
                fix=Fix(summary="Look for an activation or a loss that is flat for every sample: dead ReLUs, clamp, saturated sigmoids."),
            )
        networks = networks_by_depth(parameters)
        if not networks:
            return not_run(f"no network with {FEWEST} or more weight matrices received gradients")
        judged = [depth for depth in networks if not starts_at_zero(parameters, depth)]
        if not judged:
            return not_run("the output layer starts at zero, so the gradients before it start at zero by design")
        judged = [depth for depth in judged if depth.last > 0.0]
        if not judged:
            return not_run("no finite gradient of the last layers was recorded")
        worst = min(judged, key=lambda depth: depth.ratio)
        if worst.ratio >= VANISHED:
            return passed(
                f"The largest gradient of the first layers is {worst.ratio:.2g} times as large as the last layers' usual one.",
                evidence={"measured": worst.ratio, "expected": 1.0, "threshold": VANISHED},
                details=(worst.bars(),),
            )
        gone = worst.first < EPSILON
        return failed(
            f"The first layers' gradients are at most {worst.ratio:.1g} times as large as the last layers' "
            f"({worst.first:.1g} against {worst.last:.1g} an element, {len(worst.layers)} weight matrices): "
            f"{'the first layers do not learn' if gone else 'the first layers hardly learn'}.",
            severity=Severity.ERROR if gone else Severity.WARNING,
            evidence={"measured": worst.ratio, "expected": 1.0, "threshold": VANISHED, "first": worst.first, "last": worst.last},
            location=parameters.model_where,
            fix=Fix(
                summary="Use ReLU-like activations with normalisation in each block, or residual connections.",
                code="nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())",
            ),
            details=(worst.bars(),),
        )


def networks_by_depth(parameters: Parameters) -> list[Depth]:
    """Give the network of each optimizer with its gradients; networks of fewer than three weight matrices are left out."""
    found = []
    for optimizer in sorted({p.optimizer for p in parameters.parameters}, key=lambda index: -1 if index is None else index):
        mine = [p for p in parameters.parameters if p.optimizer == optimizer]
        designed = any(p.zero_init for p in mine if not p.name.endswith("bias"))
        places = [i for i, p in enumerate(mine) if _is_matrix(p) and (_size(p) > 0.0 or not designed)]
        free = [i for i in places if not (designed and _held_back(mine[i]))]
        places = free if len(free) >= FEWEST else places
        if len(places) >= FEWEST:
            end = places[max(1, len(places) // 3) - 1]
            first = max(_size(p) for p in mine[: end + 1])
            found.append(Depth(tuple(mine[i] for i in places), tuple(_size(mine[i]) for i in places), first))
    return found


def starts_at_zero(parameters: Parameters, depth: Depth) -> bool:
    """Whether the last weight matrix of this network was all zeros before the first step."""
    matrices = [p for p in parameters.parameters if p.optimizer == depth.layers[0].optimizer and _is_matrix(p)]
    return matrices[-1].zero_init


def _is_matrix(parameter: ParameterInfo) -> bool:
    return (
        parameter.requires_grad
        and parameter.used
        and parameter.gradient != "none"
        and not parameter.norm_or_bias
        and not parameter.module_kind.startswith("Embedding")
    )


def _held_back(parameter: ParameterInfo) -> bool:
    """No gradient at all in the first step: it comes through a layer that starts at zero, and is small until that has grown."""
    return not (parameter.gradient_norms[0] if parameter.gradient_norms else parameter.gradient_norm)


def _size(parameter: ParameterInfo) -> float:
    norms = [norm for norm in parameter.gradient_norms or (parameter.gradient_norm,) if math.isfinite(norm)]
    return max(norms, default=0.0) / math.sqrt(parameter.size)
