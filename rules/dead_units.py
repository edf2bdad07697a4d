"""Finds activation units that are silent, or saturated, for every sample.

## What it checks

The first training forward.

- **Error**: in a ReLU-like layer of 16 units or more, every unit is zero for every sample and position: nothing gets through, in either
  direction.
- **Warning**: nine tenths of a layer's units are.
- **Warning**: half of a tanh or sigmoid layer's outputs lie in the flat tails (|tanh| above 0.99, sigmoid below 0.01 or above 0.99).
  The last layer is left out: confident probabilities are what a trained model gives.

A ReLU behind a layer that gives exact zeros (zero-initialised on purpose) passes. At initialisation about half of the units of a deep
plain network are silent on a batch; that is sound, too.

## Why it matters

A ReLU unit that is negative for every sample has no gradient, so nothing ever brings it back. A saturated sigmoid passes on less than a
hundredth of its gradient.

## Example

```python
for module in model.modules():
    if isinstance(module, nn.Conv2d):
        nn.init.constant_(module.bias, -4.6)    # a prior meant for the detection head only
```

## Fix

Start biases at zero, scale the inputs, and use the initialisation made for the activation; a LeakyReLU or GELU keeps a slope on both
sides.

```python
nn.init.zeros_(module.bias)
nn.init.constant_(model.head.bias, -4.6)
```

## Thresholds

- Nine tenths silent: calibrated over 30 networks at their own initialisation, whose worst layer had 0.59 (a plain ReLU network of eight
  layers).
- 16 units for an error: half of the units of a small layer can be silent by chance, all 16 with a probability of 2^-16.
- Sums three times as large as what goes in: weights that were drawn too large are named as the cause. Glorot's scheme with the gain for tanh has 5/3.
- Half saturated: sound networks had none; tanh layers on raw pixels had 0.5 to 0.8.

## References

- Lu et al. 2019, Dying ReLU and Initialization: https://arxiv.org/abs/1903.06733
- Glorot and Bengio 2010 (saturation of sigmoid layers): https://proceedings.mlr.press/v9/glorot10a.html
- CS231n, Neural Networks Part 3, Activation distributions: https://cs231n.github.io/neural-networks-3/
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainlint.details import Bars, Mark
from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import Activation, Activations, Weighing, layer_names
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Share of silent units in a ReLU-like layer.
DEAD = 0.9
#: Units of a layer from which on an all-silent one is no chance.
ENOUGH_UNITS = 16
#: Share of outputs in the flat tails of tanh or sigmoid.
SATURATED = 0.5
#: How many times as large as their inputs sums may start; the largest gain in use is 5/3, before tanh.
STEEP = 3.0
#: Functions with silent units, and with flat tails.
RECTIFIERS = {"relu": "ReLU", "relu6": "ReLU6", "hardswish": "Hardswish", "threshold": "threshold", "gelu": "GELU"}
SATURATING = frozenset({"tanh", "hardtanh", "softsign", "sigmoid", "hardsigmoid"})


class DeadUnits(Rule):
    """Silent ReLU units, saturated tanh and sigmoid units."""

    code = "TL309"
    name = "dead-units"
    stage = Stage.GRADIENTS
    severity = Severity.ERROR
    summary = "Activation units respond to some samples and not to others"
    why = "A ReLU unit that is zero for every sample has no gradient, so nothing ever brings it back."
    source = "Lu et al. 2019: https://arxiv.org/abs/1903.06733"
    requires = (Activations,)

    def judge(self, activations: Activations) -> Verdict:
        """Find the worst silent layer, then the worst saturated one."""
        layers = activations.layers
        if not layers:
            return not_run("no activations were recorded")
        silent = [layer for before, layer in zip((None, *layers[:-1]), layers, strict=True) if _silent(layer, before)]
        dead = [layer for layer in silent if layer.dead_units >= 1.0 and layer.units >= ENOUGH_UNITS]
        if silent:
            return _dead(layers, dead or silent, severity=Severity.ERROR if dead else Severity.WARNING)
        saturated = [layer for layer in layers[:-1] if layer.saturated >= SATURATED]
        if saturated:
            return _saturated(layers, saturated)
        worst = max(layer.dead_units for layer in layers)
        return passed(f"{_rectified(layers)}, {_flat(layers)}.", evidence={"measured": worst, "threshold": DEAD})


def _rectified(layers: Sequence[Activation]) -> str:
    shares = [layer.dead_units for layer in layers if layer.kind in RECTIFIERS]
    kinds = " or ".join(dict.fromkeys(RECTIFIERS[layer.kind] for layer in layers if layer.kind in RECTIFIERS))
    return f"At most {max(shares):.0%} of a layer's {kinds} units are silent on the batch" if shares else "There are no ReLU or GELU layers"


def _flat(layers: Sequence[Activation]) -> str:
    shares = [layer.saturated for layer in layers if layer.kind in SATURATING]
    return (
        f"at most {max(shares):.0%} of a layer's tanh or sigmoid outputs are saturated"
        if shares
        else "and there are no tanh or sigmoid layers"
    )


def _silent(layer: Activation, before: Activation | None) -> bool:
    fed_with_zeros = before is not None and before.absolute_max == 0.0
    return layer.dead_units >= DEAD and not fed_with_zeros


def _dead(layers: Sequence[Activation], silent: Sequence[Activation], *, severity: Severity) -> Verdict:
    first = silent[0]
    more = f", and so are {len(silent) - 1} more layers" if len(silent) > 1 else ""
    share = "All" if first.dead_units >= 1.0 else f"{first.dead_units:.0%} of the"
    return failed(
        f"{share} {first.units} units of {_label(first)} are zero for every sample of the batch{more}: they get no gradient.",
        severity=severity,
        evidence={"measured": first.dead_units, "threshold": DEAD, "layer": first.module, "layers": len(silent)},
        location=first.where,
        fix=Fix(
            summary="Start the biases before it at zero, scale the inputs, and use He initialisation; LeakyReLU or GELU keep a slope.",
            code='nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")\nnn.init.zeros_(layer.bias)',
        ),
        details=(_bars("Silent units", layers, tuple(layer.dead_units for layer in layers), DEAD),),
    )


def _saturated(layers: Sequence[Activation], saturated: Sequence[Activation]) -> Verdict:
    first = saturated[0]
    weighing = first.weighing
    if weighing is not None and weighing.std * math.sqrt(max(weighing.inputs, 0)) >= STEEP:
        return _started_large(layers, saturated, first, weighing)
    return failed(
        f"{first.saturated:.0%} of the outputs of {_label(first)} lie in the flat tails, where hardly any gradient passes.",
        severity=Severity.WARNING,
        evidence={"measured": first.saturated, "expected": 0.0, "threshold": SATURATED, "layer": first.module, "layers": len(saturated)},
        location=first.where,
        fix=Fix(
            summary="Scale the inputs to mean 0 and standard deviation 1, and initialise the layer before with Glorot's scheme.",
            code="nn.init.xavier_normal_(layer.weight, gain=5 / 3)",
        ),
        details=(_bars("Saturated outputs", layers, tuple(layer.saturated for layer in layers), SATURATED),),
    )


def _started_large(layers: Sequence[Activation], saturated: Sequence[Activation], first: Activation, weighing: Weighing) -> Verdict:
    """Saturated by weights that do not get smaller the more of them are summed."""
    gain = weighing.std * math.sqrt(weighing.inputs)
    return failed(
        f"{first.saturated:.0%} of the outputs of {_label(first)} lie in the flat tails, where hardly any gradient passes: the weights before it"
        f"{f' ({weighing.weights})' if weighing.weights else ''} start with a standard deviation of {weighing.std:.2g} for {weighing.inputs} inputs each, so that sums are some {gain:.1f} times as large as "
        "what goes in.",
        severity=Severity.WARNING,
        evidence={
            "measured": first.saturated,
            "expected": 0.0,
            "threshold": SATURATED,
            "layer": first.module,
            "layers": len(saturated),
            "weights": weighing.weights,
            "gain": gain,
        },
        location=weighing.where or first.where,
        fix=Fix(
            summary="Divide the numbers that weights are drawn as by the root of the inputs that are summed.",
            code="self.weight = nn.Parameter(torch.randn(inputs, outputs) / math.sqrt(inputs))",
        ),
        details=(_bars("Saturated outputs", layers, tuple(layer.saturated for layer in layers), SATURATED),),
    )


def _label(layer: Activation) -> str:
    return f"{layer.module} ({layer.kind})" if layer.module else layer.kind


def _bars(title: str, layers: Sequence[Activation], shares: Sequence[float], threshold: float) -> Bars:
    names, shown = layer_names(layers), [i for i, share in enumerate(shares) if share > 0.0]
    return Bars(
        title=f"{title} by layer, from input to output",
        value_label="share",
        labels=tuple(names[i] for i in shown),
        values=tuple(shares[i] for i in shown),
        marks=(Mark(label="threshold", y=threshold),),
        highlight=tuple(place for place, i in enumerate(shown) if shares[i] >= threshold),
    )
