"""What recording leaves behind: the user's live objects and what was seen of them. Probes read it; it never leaves the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trainlint.record.frames import Frames, Place
from trainlint.record.provenance import Provenance
from trainlint.record.retained import Kept
from trainlint.record.shadows import Shadow
from trainlint.record.tape import Cut, Tape

__all__ = [
    "Backward",
    "Batch",
    "Call",
    "Happening",
    "Iteration",
    "Loader",
    "OptimizerSeen",
    "Recording",
    "SchedulerSeen",
    "Snapshot",
    "StepSeen",
    "put",
    "state_tensors",
]


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

    @property
    def phase(self) -> str:
        """``train`` when something was trained between its batches, ``val`` when the model only ran, else empty."""
        if self.backwards:
            return "train"
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
    outputs: int = 0
    """Tensors that it returned."""
    marked: bool = False
    """Its number, ``happening``, was left in the graphs of what it returned."""
    trained: bool = False
    """Its result reached a backward()."""
    happening: int = 0
    mode_place: Place | None = None
    """Where the mode it ran under was set last."""


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


@dataclass(eq=False)
class Recording:
    """Everything seen of one run."""

    frames: Frames
    provenance: Provenance
    """What made the tensors that the script had before its first backward()."""
    loaders: list[Loader] = field(default_factory=list)
    optimizers: list[OptimizerSeen] = field(default_factory=list)
    schedulers: list[SchedulerSeen] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    backwards: list[Backward] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    loaded: dict[int, str] = field(default_factory=dict)
    """id of a module -> how weights came into it after construction."""
    void_loads: dict[int, tuple[Place | None, str]] = field(default_factory=dict)
    """id of a module -> where load_state_dict() matched none of its names, and the first name that was given."""
    trained_before: set[int] = field(default_factory=set)
    """ids of parameters that an earlier training of the same script changed."""
    initial: dict[int, Tensor] = field(default_factory=dict)
    """id of a parameter or buffer -> its value before the first optimizer step."""
    tape: Tape | None = None
    """The tape that replays run, with its backward."""
    tape_backward: Backward | None = None
    trust: str = "none"
    trust_reason: str = "no training step was recorded"
    trust_losses: tuple[float, float, float | None, float | None] = (float("nan"), float("nan"), None, None)
    fills: list[dict[int, Tensor]] = field(default_factory=list)
    """What later steps of the same kind fed into the tape's outside slots, where no loader's batches are known to be fed."""
    first_tapes: list[Backward] = field(default_factory=list)
    """backward() calls of the first optimizer step, with their tapes."""
    turn_tapes: list[Backward] = field(default_factory=list)
    """The first backward() at each further place, where several optimizers take turns."""
    broken: Backward | None = None
    """The first backward() with a non-finite loss or gradient."""
    broken_state: dict[int, Tensor] = field(default_factory=dict)
    """id of a parameter or buffer -> its value at that backward()."""
    places: dict[int, Place | None] = field(default_factory=dict)
    """id of a module or dataset -> where it was built."""
    grad_off: Place | None = None
    """Where gradients were switched off and not on again."""
    frozen_at: Place | None = None
    step_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    status: str = "recorded"
    own_loop: bool = False
    """The loop is trainlint's own, around a model and a loader in hand."""
    notes: list[str] = field(default_factory=list)
    cut_short: bool = False
    """Whether the budget ended it with half the steps that were wanted, or fewer."""
    modes: dict[int, Place | None] = field(default_factory=dict)
    clear_calls: int = 0
    kept: list[Kept] = field(default_factory=list)
    """Graphs of losses and outputs that outlived their step, by place."""
    rebuilt: dict[tuple[str, Place | None], Rebuilt] = field(default_factory=dict)
    """Layers that were built while a forward ran, by class and line."""
    shadows: list[Shadow] = field(default_factory=list)
    """Second sets of the model's weights."""

    @property
    def steps(self) -> list[StepSeen]:
        """All optimizer steps in order."""
        return sorted((s for o in self.optimizers for s in o.steps), key=lambda s: s.happening)

    @property
    def training(self) -> list[OptimizerSeen]:
        """Optimizers that took a step."""
        return [o for o in self.optimizers if o.steps]

    def models(self) -> list[nn.Module]:
        """The outermost called modules that took part in training, in order of their first call."""
        trained = {id(p) for o in self.training for p in o.parameters} | {i for b in self.backwards for i in b.reached}
        found: dict[int, nn.Module] = {}
        for call in self.calls:
            if call.trained or any(id(p) in trained for p in call.module.parameters()):
                found.setdefault(id(call.module), call.module)
        inner = {id(m) for module in found.values() for m in module.modules() if m is not module}
        return [m for m in found.values() if id(m) not in inner]

    def named_parameters(self) -> Iterator[tuple[str, str, nn.Module, nn.Parameter]]:
        """``(name, module name, module, parameter)`` of all models, each parameter once; names start with the class when there are several models."""
        models = self.models()
        seen: set[int] = set()
        for model in models:
            prefix = f"{type(model).__name__}." if len(models) > 1 else ""
            for module_name, module in model.named_modules():
                for name, parameter in module.named_parameters(recurse=False):
                    if id(parameter) not in seen and not parameter.is_meta:  # a form that functional_call fills
                        seen.add(id(parameter))
                        yield f"{prefix}{module_name}{'.' if module_name else ''}{name}", prefix + module_name, module, parameter

    def module_names(self) -> dict[int, str]:
        """Id of a module -> dotted name within its model."""
        return {id(m): name or type(m).__name__ for model in self.models() for name, m in model.named_modules()}

    def loaders_of(self, phase: str) -> list[Loader]:
        """Loaders by what was done with their batches."""
        return [entry for entry in self.loaders if any(i.phase == phase for i in entry.iterations)]

    def dataset_place(self, loader: Loader) -> Place | None:
        """Where the dataset under subsets and wrappers was built; the loader's place when that is not known."""
        dataset: Any = loader.loader.dataset
        place = self.places.get(id(dataset))
        for _ in range(8):
            dataset = getattr(dataset, "dataset", None)
            if dataset is None:
                break
            place = self.places.get(id(dataset), place)
        return place or loader.place

    @property
    def main(self) -> OptimizerSeen | None:
        """The optimizer that the trusted tape's loss trains, else the first that stepped."""
        if self.tape is not None:
            leaves = {id(t) for t in self.tape.leaves.values()}
            for seen in self.training:
                if any(id(p) in leaves for p in seen.parameters):
                    return seen
        return next(iter(self.training), None)

    @property
    def step_time(self) -> float | None:
        """Median seconds of a bare step."""
        times = sorted(self.step_seconds)
        return times[len(times) // 2] if times else None


def state_tensors(models: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters and buffers of some modules, each once."""
    found = {id(t): t for m in models for t in (*m.parameters(), *m.buffers())}
    return list(found.values())


def put(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy a value into each live tensor, bit for bit, those of one device and type in one call."""
    groups: dict[tuple[Any, ...], tuple[list[Tensor], list[Tensor]]] = {}
    with torch.no_grad():
        for tensor, value in pairs:
            if tensor.is_sparse or value.is_sparse:
                tensor.data = value.clone()
                continue
            into, values = groups.setdefault((tensor.device, tensor.dtype, value.device, value.dtype), ([], []))
            into.append(tensor.detach())
            values.append(value)
        for into, values in groups.values():
            torch._foreach_copy_(into, values)


class Snapshot:
    """Values of live tensors, kept in buffers of its own and put back bit for bit."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = [t for t in tensors if not torch.nn.parameter.is_lazy(t)]
        with torch.no_grad():
            self._values = [t.detach().clone() for t in self._tensors]

    def restore(self) -> None:
        """Put the values back."""
        put(zip(self._tensors, self._values, strict=True))
