"""What is seen of a training: loaders and their batches, calls, backward passes, steps, optimizers, schedulers."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trainlint.record.frames import Place
from trainlint.record.operation import Cut
from trainlint.record.planned import Turn
from trainlint.record.tape import Tape

__all__ = ["Backward", "Batch", "Call", "Happening", "Iteration", "Loader", "OptimizerSeen", "Rebuilt", "SchedulerSeen", "StepSeen"]


@dataclass(eq=False)
class Loader:
    """A DataLoader that the script built."""

    loader: DataLoader[Any]
    index: int
    place: Place | None
    iterations: list[Iteration] = field(default_factory=list)
    set_epoch: bool = False
    planned: int | None = None
    """Passes that the loop around it means to make."""
    callers: list[Place] = field(default_factory=list)
    """The lines that the function which built it was called from, the nearest first."""


@dataclass(eq=False)
class Iteration:
    """One pass over a loader, as far as it went."""

    loader: Loader
    number: int
    place: Place | None
    batches: int = 0
    backwards: int = 0
    steps: int = 0
    forwards: int = 0
    grad_forwards: int = 0
    indices: list[Any] = field(default_factory=list)
    """Index lists in the order in which batches were asked for."""
    begun: float = 0.0
    cut_short: bool = False
    generators: dict[str, int] = field(default_factory=dict)
    """State of the global random generators when it began."""
    drawn: frozenset[str] = frozenset()
    """Those of them that had moved when its second batch was there."""
    seeded_at: Place | None = None
    """The line that had torch's seeded last, in the innermost function that still ran when the pass began."""

    @property
    def phase(self) -> str:
        """``train`` when something was trained between its batches, ``val`` when the model only ran, else empty.

        A gradient looked at on one batch is no training where other passes take steps.
        """
        if self.backwards:
            looked = self.batches == 1 and not self.steps and any(i.steps for i in self.loader.iterations)
            return "" if looked else "train"
        return "val" if self.forwards else ""


@dataclass(eq=False)
class Batch:
    """A batch as it was handed out, its tensors copied."""

    iteration: Iteration | None
    leaves: dict[str, Tensor]
    identities: dict[int, str]
    """id of the tensors that the loop received -> path."""
    position: int


@dataclass(eq=False)
class Call:
    """A call of a model: a module with parameters, called by the user's code and not by another module."""

    module: nn.Module
    place: Place | None
    training: bool
    grad: bool
    iteration: Iteration | None
    modules_off: tuple[str, ...]
    """Mode-dependent layers that were in eval mode, by class."""
    modules_on: int
    off_are_frozen: bool
    inputs: tuple[Tensor, ...] = ()
    fed: bool = False
    """Some of its inputs were made by another model, gradients and all."""
    outputs: int = 0
    """Tensors that it returned."""
    marked: bool = False
    """Its number, ``happening``, was left in the graphs of what it returned."""
    trained: bool = False
    """Its result reached a backward()."""
    happening: int = 0
    mode_place: Place | None = None
    """Where the mode it ran under was set last."""
    first_input: weakref.ref[Tensor] | None = None

    def fed_from(self) -> int | None:
        """Identity of its first input, if that still lives."""
        tensor = self.first_input() if self.first_input is not None else None
        return id(tensor) if tensor is not None else None


@dataclass(eq=False)
class Happening:
    """One event of the loop, in order."""

    kind: str
    place: Place | None
    subject: str = ""
    iteration: Iteration | None = None
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Backward:
    """One backward() call."""

    index: int
    value: float
    place: Place | None
    scale: float
    reached: frozenset[int]
    """ids of the trainable tensors it gave gradients."""
    iteration: Iteration | None
    loss_has_graph: bool
    loss_forced: bool
    tape: Tape | None = None
    held: dict[int, int] = field(default_factory=dict)
    """optimizer -> number of backward() calls whose gradients were there before this one."""
    inputs: list[tuple[str, Tensor]] = field(default_factory=list)
    batch: Batch | None = None
    norms: dict[int, float] = field(default_factory=dict)
    """id of a parameter -> norm of its gradient after this call, the scaler's factor taken out; kept for the first steps only."""
    norm: float | None = None
    happening: int = 0
    cuts: tuple[Cut, ...] = ()
    nodes: int = 0
    """Nodes of its graph."""


@dataclass(eq=False)
class StepSeen:
    """One optimizer step."""

    optimizer: int
    place: Place | None
    backwards: list[int]
    kept: list[int]
    stale: int
    discarded: int
    discarded_place: Place | None
    lr: tuple[float, ...]
    without_gradient: bool
    norm: float | None
    clip: tuple[float | None, float, Place | None, bool] | None
    """(norm before, max_norm, place, gradients still scaled)."""
    clip_late: Place | None
    iteration: Iteration | None
    skipped: bool = False
    scaler: bool = False
    """Taken by a gradient scaler's step()."""
    scaled: bool = False
    """A gradient scaler multiplied the loss."""
    weight_norms: dict[int, float] = field(default_factory=dict)
    update_norms: dict[int, float] = field(default_factory=dict)
    unmoved: dict[int, float] = field(default_factory=dict)
    """id of a parameter of 16 bits -> share of its elements with a gradient that the step left as they were."""
    happening: int = 0
    closure: bool = False


@dataclass(eq=False)
class OptimizerSeen:
    """An optimizer that the script built."""

    optimizer: Optimizer
    index: int
    place: Place | None
    base: list[dict[str, Any]]
    """Group settings (without parameters) as built, before any scheduler changed them."""
    built: int = 0
    """Events before it was built."""
    steps: list[StepSeen] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    """Indices of the backward() calls whose gradients its parameters hold now."""
    pending: list[int] = field(default_factory=list)
    """backward() calls since its last step that reached it."""
    dropped: list[tuple[int, Place | None]] = field(default_factory=list)
    clip: tuple[float | None, float, Place | None, bool] | None = None
    clip_late: Place | None = None
    before: list[Tensor] | None = None
    settings: list[dict[str, Any]] = field(default_factory=list)
    """Group settings at the first step."""
    resumed: bool = False
    """It held state before its first step: a run that goes on."""
    loaded_at: Place | None = None
    """Where its state was loaded last, before its first step."""
    loaded_lr: tuple[float, ...] = ()
    """The learning rates that this brought."""

    @property
    def parameters(self) -> Iterator[Tensor]:
        """All its tensors."""
        for group in self.optimizer.param_groups:
            yield from group["params"]


@dataclass(eq=False)
class Rebuilt:
    """Layers with weights that a forward built and called, at one line."""

    kind: str
    place: Place | None
    owner: str
    """Class of the module whose forward it was."""
    weights: int = 0
    """Trainable numbers drawn at random, in one of them; what a norm begins with is not."""
    turns: set[int] = field(default_factory=set)
    """backward() calls before each of its calls."""


@dataclass(eq=False)
class SchedulerSeen:
    """A learning-rate scheduler that the script built."""

    scheduler: Any
    index: int
    place: Place | None
    calls: list[tuple[int, int, Place | None, float | None]] = field(default_factory=list)
    """(optimizer steps so far, training iterations begun, where, metric) of each step() call after construction."""
    initial: dict[str, Any] = field(default_factory=dict)
    """Plain attributes just after construction."""
    sometimes: bool = False
    """Its step() stands under a condition on how far the run is."""
    warmup: float = 0.0
    """Steps of warm-up, or their share of the run, that the trainer which built it was told."""
    told_at: Place | None = None
    """Where that trainer was told which schedule to build."""
    stepper: Place | None = None
    """The method of the user's by which a trainer steps it."""
    built_in: tuple[Turn, ...] = ()
    """The ``range`` loops that it was built in."""
    turns: list[tuple[Turn, ...]] = field(default_factory=list)
    """The ``range`` loops that each step() call stood in."""
    counts: list[float] = field(default_factory=list)
    """The count that each call was handed, of a scheduler that is told how far the run is (timm's)."""
    idle: list[Place | None] = field(default_factory=list)
    """Where it was told a count in the unit that it does not go by, which changes nothing."""
