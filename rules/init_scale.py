"""Checks that the signal neither dies nor blows up on its way through the untrained network.

## What it checks

The output of every layer in the first training forward, in order of execution.

- **Error, copies**: all units of a layer start with the same weights, and are still equal after a step: they get the same gradients,
  and stay copies of one unit.
- **Error, all zero**: no weight matrix gets any gradient at the first step, and some of them start at zero: each waits for the other.
- **Error, collapsed**: from some layer to the end, three or more weight layers give every sample the same output although the inputs
  differ. What distinguishes the samples is lost in rounding. A warning when the recorded steps bring it back, as those of Adam do in a
  few layers.
- **Error, exploded**: the network's output has a standard deviation above 10,000, and a thousand times that of its first layer.
- **Warning**: one layer alone makes more than a hundred times of its input, and a standard deviation above 100; in recurrent layers a
  weight above 1 does that.
- **Warning**: some layer's output has a standard deviation above 100, and thirty times that of the first layer.

A zero-initialised head, zero-initialised residual branches and LayerScale pass: other layers still carry the signal. Large but unscaled
*inputs* pass here too, because scales are compared with the network's own first layer; see `input-scale`.

## Why it matters

Units that start alike and get the same gradients never become different, however long they train. And each layer multiplies the
scale of the signal by its gain. At a gain of 2 a 20-layer network multiplies it by a million, at a gain of
0.5 it divides it by as much, and the gradients on the way back fare alike.

## Example

```python
for layer in self.layers:
    nn.init.normal_(layer.weight, std=1.0)      # each layer of width 256 multiplies the signal by about 11
```

## Fix

Use an initialisation that keeps the variance: He for ReLU-like activations, Glorot for tanh. A normalisation layer in each block makes
the network forgive a wrong one.

```python
for layer in self.layers:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
```

## Thresholds

- Standard deviation above 100 and 30 × the first layer's (warning): calibrated over 30 networks at their own initialisation (ResNet,
  DenseNet, EfficientNet, ViT, Swin, CaiT, ConvNeXt, GPT-2, BERT, VAE, MLPs), whose largest standard deviation was below 5, so that
  none had a layer with a hundred times its input, and largest growth 53 × (BERT, whose embeddings start at 0.02).
- Above 10,000 and 1,000 × (error): a softmax over such scores is one-hot, so the loss has hardly a slope.
- Copies differ by less than a thousandth of what the step changed them by, which is rounding.
- Three weight layers with equal outputs for all samples (error; a warning when norm layers follow, which can bring the signal back): two or fewer occur by design (zero-initialised heads).

## References

- He et al. 2015, Delving Deep into Rectifiers: https://arxiv.org/abs/1502.01852
- Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks:
  https://proceedings.mlr.press/v9/glorot10a.html
- Schoenholz et al. 2017, Deep Information Propagation: https://arxiv.org/abs/1611.01232
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from trainlint.details import Bars
from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import Activation, Activations, Parameters, layer_names
from trainlint.rule import Rule, Verdict, failed, not_run, passed

#: Standard deviation, and growth over the first layer, beyond which a layer's output is called large.
LARGE_STD, LARGE_GROWTH = 100.0, 30.0
#: The same for the network's output, beyond which training cannot start.
BROKEN_STD, BROKEN_GROWTH = 1e4, 1e3
#: Weight layers in a row to the end with the same output for every sample.
COLLAPSED_LAYERS = 3
#: How the names of functions and classes with a weight matrix begin, in small letters.
WEIGHT_LAYERS = ("linear", "conv", "lstm", "gru", "rnn", "bilinear", "addmm")


class InitScale(Rule):
    """Activations that collapse or explode along depth before the first step."""

    code = "TL106"
    name = "init-scale"
    stage = Stage.WIRING
    severity = Severity.ERROR
    summary = "The untrained network keeps the scale of its signal"
    why = "Each layer multiplies the signal by its gain: a wrong initialisation kills or blows it up, and the gradients alike."
    source = "He et al. 2015: https://arxiv.org/abs/1502.01852"
    requires = (Activations, Parameters)

    def judge(self, activations: Activations, parameters: Parameters) -> Verdict:
        """Look for units that are alike, for a collapse that reaches the output, then for growth."""
        layers = activations.layers
        alive = [layer for layer in layers if layer.std > 0.0]
        alike = _copies(parameters) or _waiting(parameters)
        if alike:
            return alike
        steep = next((layer for layer in alive if _is_weighted(layer) and (layer.gain or 0.0) > LARGE_STD and layer.std > LARGE_STD), None)
        if steep is not None:
            return _steep(layers, steep)
        if len(layers) < COLLAPSED_LAYERS or not alive:
            return not_run(f"only {len(alive)} layers with a varying output were seen, too few to follow a scale along depth")
        collapsed = list(itertools.takewhile(lambda layer: layer.identical_samples, reversed(layers)))[::-1]
        weighted = [layer for layer in collapsed if _is_weighted(layer)]
        # Where samples are alike at the first layer the input says nothing; behind units that are all silent `dead-units` says why.
        if len(weighted) >= COLLAPSED_LAYERS and len(collapsed) < len(layers) and collapsed[0].dead_units < 1.0:
            return _collapsed(layers, collapsed, healed=activations.told_apart_later)
        first = alive[0].std
        large = [layer for layer in alive if layer.std > LARGE_STD and layer.std > LARGE_GROWTH * first]
        if large:
            return _exploded(layers, large, first)
        return passed(
            f"The standard deviation of the activations goes from {first:.2g} at the first layer to {alive[-1].std:.2g} "
            f"at the last of {len(layers)}, {max(layer.std for layer in alive):.2g} at most.",
            evidence={"measured": alive[-1].std / first, "threshold": LARGE_GROWTH},
            details=(_bars(layers, ()),),
        )


def _is_weighted(layer: Activation) -> bool:
    return layer.kind.lower().startswith(WEIGHT_LAYERS)


def _copies(parameters: Parameters) -> Verdict | None:
    """The failure of layers whose units are copies of each other."""
    copies = [p for p in parameters.parameters if p.identical_units]
    if not copies:
        return None
    first = copies[0]
    others = f" (and of {len(copies) - 1} more layers)" if len(copies) > 1 else ""
    return failed(
        f"All {first.shape[0] if first.shape else 0} units of {first.module or first.name}{others} start with the same weights and are still equal after a step: "
        "they get the same gradients and stay copies of one unit.",
        severity=Severity.ERROR,
        evidence={"measured": len(copies), "expected": 0, "threshold": 0, "layer": first.module},
        location=first.where,
        fix=_fix("Start from random weights: only they make units different."),
    )


def _waiting(parameters: Parameters) -> Verdict | None:
    """The failure of matrices that start at zero in more than one layer, so that none ever gets a gradient."""
    matrices = [p for p in parameters.parameters if not p.norm_or_bias and p.requires_grad and p.used]
    zero = [p for p in matrices if p.zero_init]
    if len(matrices) < 2 or not zero or any(p.gradient != "zero" for p in matrices):
        return None
    return failed(
        f"{len(zero)} of {len(matrices)} weight matrices start at zero, and no matrix gets any gradient: each waits for another to become "
        "different from zero, so that biases alone can learn.",
        severity=Severity.ERROR,
        evidence={"measured": len(zero), "expected": 0, "threshold": 0, "layer": zero[0].module},
        location=zero[0].where,
        fix=_fix("Start from random weights; at most the last layer of a network or of a residual branch may start at zero."),
    )


def _steep(layers: Sequence[Activation], steep: Activation) -> Verdict:
    return failed(
        f"{_label(steep)} alone multiplies the scale of its input by {steep.gain or 0:,.0f}: its output has a standard deviation of {steep.std:.2g}.",
        severity=Severity.WARNING,
        evidence={"measured": steep.gain, "expected": 1.0, "threshold": LARGE_STD, "standard deviation": steep.std, "layer": steep.module},
        location=steep.where,
        fix=_fix("Its weights start too large; those that a recurrent layer applies to its own state at most orthogonal."),
        details=(_bars(layers, [layers.index(steep)]),),
    )


def _collapsed(layers: Sequence[Activation], run: Sequence[Activation], *, healed: bool) -> Verdict:
    start = len(layers) - len(run)
    return failed(
        f"From layer {start + 1} of {len(layers)} ({_label(run[0])}) to the output, every sample of the batch gives the same activations "
        f"although the inputs differ{', until the first steps have made the weights larger' if healed else ''}.",
        severity=Severity.WARNING if healed or any("norm" in layer.kind.lower() for layer in run) else Severity.ERROR,
        evidence={"measured": len(run), "expected": 0, "threshold": COLLAPSED_LAYERS, "layer": run[0].module},
        location=run[0].where,
        fix=_fix("The signal shrinks at every layer: initialise for the activation in use, or put a normalisation layer into each block."),
        details=(_bars(layers, range(start, len(layers))),),
    )


def _exploded(layers: Sequence[Activation], large: Sequence[Activation], first: float) -> Verdict:
    last = layers[-1].std
    broken = last > BROKEN_STD and last > BROKEN_GROWTH * first
    shown = layers[-1] if broken else max(large, key=lambda layer: layer.std)
    return failed(
        f"The activations' standard deviation grows from {first:.2g} at the first layer to {shown.std:.2g} at {_label(shown)}, "
        f"{shown.std / first:,.0f} times as large.",
        severity=Severity.ERROR if broken else Severity.WARNING,
        evidence={
            "measured": shown.std / first,
            "expected": 1.0,
            "threshold": BROKEN_GROWTH if broken else LARGE_GROWTH,
            "standard deviation": shown.std,
            "layer": shown.module,
        },
        location=large[0].where,
        fix=_fix("The weights start too large: initialise for the activation in use, or put a normalisation layer into each block."),
        details=(_bars(layers, [i for i, layer in enumerate(layers) if layer in large]),),
    )


def _label(layer: Activation) -> str:
    return f"{layer.module} ({layer.kind})" if layer.module else layer.kind


def _bars(layers: Sequence[Activation], at_fault: Sequence[int]) -> Bars:
    return Bars(
        title="Scale of the activations before the first step, from input to output",
        value_label="standard deviation",
        labels=layer_names(layers),
        values=tuple(layer.std for layer in layers),
        log=True,
        highlight=tuple(at_fault),
    )


def _fix(summary: str) -> Fix:
    return Fix(
        summary=summary,
        code='nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")   # tanh: xavier_normal_(layer.weight, gain=5 / 3)\n'
        "nn.init.zeros_(layer.bias)",
    )
