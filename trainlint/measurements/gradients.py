"""Parameters, their gradients and updates, activations, and the first non-finite value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from trainlint.location import Location
from trainlint.measurements.base import Measurement

__all__ = [
    "Activation",
    "Activations",
    "BrokenRecurrence",
    "GraphCut",
    "MovingTargets",
    "NonFinite",
    "ParameterInfo",
    "Parameters",
    "RebuiltLayer",
    "SharedRows",
    "UnregisteredModule",
    "Weighing",
    "layer_names",
]


@dataclass(frozen=True, kw_only=True)
class ParameterInfo:
    """One parameter tensor of a model that trains, in the order in which the forward used it (input first)."""

    name: str
    module: str
    """Dotted name of the module that holds it; empty for the model itself."""
    module_kind: str
    """Class of that module."""
    shape: tuple[int, ...]
    size: int
    requires_grad: bool
    optimizer: int | None = None
    """Index of the optimizer that holds it; None when none does."""
    used: bool = True
    """Its module took part in the training forward."""
    gradient: str = "finite"
    """After the first backward: ``finite``, ``zero`` (exactly), ``none`` or ``nonfinite``."""
    gradient_norm: float = 0.0
    """2-norm, first step, before clipping and with the scaler's factor taken out."""
    gradient_norms: tuple[float, ...] = ()
    """The same for each recorded step."""
    weight_norm: float = 0.0
    update_norm: float = 0.0
    """2-norm of the first real change by the optimizer."""
    update_ratio: float | None = None
    """Median over recorded steps of |change| / |weight|, by the optimizer's real update; None when not measured or the weight is zero."""
    unmoved: float | None = None
    """For weights of 16 bits under an optimizer of torch's: share of the elements with a gradient that a step leaves as they were, a median over steps."""
    norm_or_bias: bool = False
    zero_init: bool = False
    """All zeros before the first step (a zero-initialised residual branch or bias)."""
    identical_units: bool = False
    """A weight matrix whose rows (within a gate or a projection) were equal before the first step and still are after it, though it changed them."""
    lr: float | None = None
    """Learning rate of its group at the steps measured."""
    where: Location | None = None
    """Where its module was built; known for matrices of identical or zero units alone."""


@dataclass(frozen=True, kw_only=True)
class GraphCut:
    """A place where the forward left the autograd graph."""

    kind: str
    """``detach``, ``no_grad``, ``argmax``, ``item``, ``numpy``, ``new tensor``, ``data``, ``integer cast`` …"""
    where: Location | None = None
    parameters: tuple[str, ...] = ()
    """Trainable parameters whose only way to the loss leads through here."""
    module: str = ""


@dataclass(frozen=True, kw_only=True)
class BrokenRecurrence:
    """A recurrent layer whose state leaves the graph between each two of its steps."""

    kind: str
    """``detach``, ``detach_`` or ``data``."""
    layer: str
    """The operation of one step: ``lstm_cell``, or ``linear`` for a cell of the user's own."""
    steps: int
    """In one forward."""
    reached: int = 0
    """Those that the loss's gradient reaches."""
    lines: tuple[int, ...] = ()
    """All lines with such a ``detach()`` in the function that runs the steps; empty where they stand elsewhere or leave the graph by other means."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class UnregisteredModule:
    """A module or parameter held in a plain list, dict or attribute that the model does not register."""

    owner: str
    """Class and attribute: ``Net.blocks``."""
    kind: str
    """``list of Linear`` …"""
    parameters: int = 0
    named: bool = False
    """The keys of the dict can be names of modules."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class RebuiltLayer:
    """A layer with weights that each forward builds anew."""

    kind: str
    owner: str
    """Class whose forward builds it."""
    weights: int = 0
    """Numbers drawn at random each time; 0 for a norm, which begins with ones and zeros."""
    where: Location | None = None


@dataclass(frozen=True, kw_only=True)
class MovingTargets:
    """A network with learned weights that makes nothing but targets, and is trained towards what is to learn from it."""

    loss: str
    """The operation that takes the targets."""
    parameters: tuple[str, ...] = ()
    where: Location | None = None
    """Where it is called."""


@dataclass(frozen=True, kw_only=True)
class SharedRows:
    """Words that have one vector between them in a frozen embedding, while the others have their own."""

    name: str
    """Name of the table."""
    words: int
    """Words that share it, of those that the recorded batches use often."""
    used: int
    """All of those."""
    zeros: bool = False
    """The vector is zero."""
    where: Location | None = None
    """Where the table is frozen."""


@dataclass(frozen=True, kw_only=True)
class Parameters(Measurement):
    """Every parameter of the models that train, with what the first steps did to it."""

    name: ClassVar[str] = "parameters"
    parameters: tuple[ParameterInfo, ...] = ()
    model: str = ""
    """Class name(s) of the trained model(s)."""
    model_where: Location | None = None
    optimizer_where: tuple[Location | None, ...] = ()
    """Where each optimizer was built."""
    foreign: int = 0
    """Parameters in an optimizer that belong to no model that was called (a stale or replaced module)."""
    foreign_names: tuple[str, ...] = ()
    loose: int = 0
    """Tensors of no model, such as an image, that an optimizer holds and that get gradients."""
    unregistered: tuple[UnregisteredModule, ...] = ()
    rebuilt: tuple[RebuiltLayer, ...] = ()
    cuts: tuple[GraphCut, ...] = ()
    constant: GraphCut | None = None
    """A softmax over an axis with one entry, which is 1 whatever goes in, and the parameters that therefore get gradients of zero alone."""
    sampled: GraphCut | None = None
    """A draw without gradient that layers learn from, and the parameters of its distribution, which only a term without data teaches."""
    recurrence: BrokenRecurrence | None = None
    forced_where: Location | None = None
    """Where ``requires_grad`` is set on a loss, or on a new tensor that becomes one; only when the loss reaches no parameter."""
    loss_has_graph: bool = True
    """The first loss was connected to at least one parameter."""
    grad_globally_off: Location | None = None
    """Where gradients were switched off for the whole program, when they were."""
    no_grad_calls: tuple[Location, ...] = ()
    """Where training forwards ran with gradients off."""
    frozen_where: Location | None = None
    """Where requires_grad was last set to False."""
    cast_where: Location | None = None
    """Where the weights of a module were turned into numbers of 16 bits."""
    unfrozen_where: Location | None = None
    """Where the running loop sets it to True further on for parameters that no optimizer holds, without handing them to one."""
    waiting: tuple[str, ...] = ()
    """Names of parameters that are used, frozen, and in no optimizer; only where all that optimizers hold is free."""
    batchnorm_moving_while_frozen: int = 0
    """BatchNorm layers with frozen weights whose running statistics still change in training."""
    total_norms: tuple[float, ...] = ()
    """Global gradient norm per recorded step, before clipping."""
    void_load_where: Location | None = None
    """Where ``load_state_dict(strict=False)`` matched no name of a module that is used."""
    void_load_names: tuple[str, str] = ("", "")
    """The first name in what was loaded there, and the first of the module."""
    moving_targets: MovingTargets | None = None
    teachers: tuple[str, ...] = ()
    """Parameters with learned values whose network makes targets alone, without gradients."""
    shared_rows: SharedRows | None = None
    pretrained: bool = False
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """Weights of a matrix product, as they start."""

    weights: str
    std: float
    inputs: int
    """Summed up for each output."""
    where: Location | None = None
    """Where the user's code made the parameter."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """Output of one layer in the first training forward."""

    module: str
    kind: str
    std: float = 0.0
    gain: float | None = None
    """Standard deviation over that of the layer's input; known for outputs beyond 100 alone."""
    mean: float = 0.0
    absolute_max: float = 0.0
    zero_share: float = 0.0
    """Share of exact zeros."""
    dead_units: float = 0.0
    """For ReLU-like layers and functions: share of units (channels, features) that are zero for every sample and position."""
    saturated: float = 0.0
    """For tanh and sigmoid: share of elements in the flat tails (|tanh| > 0.99, sigmoid < 0.01 or > 0.99)."""
    identical_samples: bool = False
    """Every sample of the batch gives the same output although inputs differ."""
    units: int = 0
    where: Location | None = None
    weighing: Weighing | None = None
    """For tanh and sigmoid with half of their outputs in the flat tails: the weights before them."""


def layer_names(layers: Sequence[Activation]) -> tuple[str, ...]:
    """What to call each layer: ``blocks.0.act (gelu)``; those of one name are told apart by their lines, or else numbered."""
    names = [f"{a.module} ({a.kind})" if a.module else a.kind for a in layers]
    seen: Counter[str] = Counter()
    found = []
    for name, layer in zip(names, layers, strict=True):
        seen[name] += 1
        lines = [other.where and other.where.line for other, own in zip(layers, names, strict=True) if own == name]
        by_line = layer.where is not None and None not in lines and len(set(lines)) == len(lines)
        apart = f", line {layer.where.line}" if by_line and layer.where else f" {seen[name]}"
        found.append(name + (apart if len(lines) > 1 else ""))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Activations(Measurement):
    """Scale and health of activations along depth, in order of execution."""

    name: ClassVar[str] = "activations"
    layers: tuple[Activation, ...] = ()
    told_apart_later: bool = False
    """At first the last layer gave every sample the same output; with the weights after the recorded steps it does not."""


@dataclass(frozen=True, kw_only=True)
class NonFinite(Measurement):
    """The first NaN or infinity of the recorded steps, if any."""

    name: ClassVar[str] = "non_finite"
    steps: int = 0
    """Training steps that were watched to their end."""
    found: bool = False
    step: int = 0
    """Counted from 1; one more than ``steps`` where the broken step was not taken."""
    what: str = ""
    """``input``, ``parameter``, ``activation``, ``loss``, ``gradient``."""
    operation: str = ""
    """First operation with a non-finite result and finite inputs, as the user's code calls it; for gradients the operation whose backward made it."""
    module: str = ""
    where: Location | None = None
    parameter: str = ""
    detail: str = ""
    """What its inputs looked like: ``log of 0``, ``division by zero``, ``sqrt of 0 (its gradient is infinite)`` …"""
    loss: float = 0.0
    growth: float | None = None
    """How many times larger than before the loss or the gradient norm had become in the last steps before; None where too few are known."""
    clipped: bool = False
    """Gradients were clipped in some step."""
