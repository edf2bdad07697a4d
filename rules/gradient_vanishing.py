"""Finds gradients that fade on their way back to the first layers.

## What it checks

The gradient of each weight matrix, as root mean square over its elements, the largest of the recorded steps, in the order in which the
forward uses the layers. The median of the first third of the layers is compared with that of the last third, for each optimizer's
network.

- **Error**: every gradient is exactly zero in all recorded steps.
- **Error**: the first layers get less than a thousandth of what the last ones get, and less than 1e-8 an element, where even Adam's
  division by the gradient's own size gives up.
- **Warning**: less than a thousandth.

Norms, biases and embeddings are left out, and so are single layers with small gradients: zero-initialised residual branches and
LayerScale (1e-6) make the branch's gradients small, but not those of the first layers as a whole. A network whose output layer starts
at zero is not judged: all gradients before it start at zero by design.

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

- A thousandth: calibrated over 30 sound networks (ResNet, DenseNet, EfficientNet, ViT, CaiT, Swin, ConvNeXt, GPT-2, BERT, LSTM, VAE,
  MLPs of up to ten layers), whose smallest ratio was 0.05; 0.003 for three hidden sigmoid layers, 0.0002 for five, 4e-6 for seven.
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
    """Gradients of one network's weight matrices, from input to output."""

    layers: tuple[ParameterInfo, ...]
    sizes: tuple[float, ...]
    """Root mean square over the elements of each layer's gradient, the largest of the recorded steps."""

    @property
    def first(self) -> float:
        """Median of the first third."""
        return statistics.median(self.sizes[: max(1, len(self.sizes) // 3)])

    @property
    def last(self) -> float:
        """Median of the last third."""
        return statistics.median(self.sizes[-max(1, len(self.sizes) // 3) :])

    @property
    def ratio(self) -> float:
        """First over last."""
        return self.first / self.last if self.last else math.inf

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
    blocked_by = ("no-gradient",)

    def judge(self, parameters: Parameters) -> Verdict:
        """Compare the first third of each network's layers with the last third."""
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
        worst = min(judged, key=lambda depth: depth.ratio)
        if worst.ratio >= VANISHED:
            return passed(
                f"The first layers' gradients are {worst.ratio:.2g} times as large as the last layers'.",
                evidence={"measured": worst.ratio, "expected": 1.0, "threshold": VANISHED},
                details=(worst.bars(),),
            )
        gone = worst.first < EPSILON
        return failed(
            f"The first layers' gradients are {worst.ratio:.1g} times as large as the last layers' "
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
    """Give the weight matrices of each optimizer's network with their gradients; networks of fewer than three are left out."""
    found = []
    for optimizer in sorted({p.optimizer for p in parameters.parameters}, key=lambda index: -1 if index is None else index):
        mine = [p for p in parameters.parameters if p.optimizer == optimizer]
        designed = any(p.zero_init for p in mine if not p.name.endswith("bias"))
        sized = [(p, _size(p)) for p in mine if _is_matrix(p)]
        kept = [(p, size) for p, size in sized if size > 0.0 or not designed]
        if len(kept) >= FEWEST:
            found.append(Depth(tuple(p for p, _ in kept), tuple(size for _, size in kept)))
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


def _size(parameter: ParameterInfo) -> float:
    norms = [norm for norm in parameter.gradient_norms or (parameter.gradient_norm,) if math.isfinite(norm)]
    return max(norms, default=0.0) / math.sqrt(parameter.size)
