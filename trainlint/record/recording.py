"""What recording leaves behind: the user's live objects and what was seen of them. Probes read it; it never leaves the process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from trainlint.record.answers import Answers
from trainlint.record.casts import Cast
from trainlint.record.frames import Frames, Place
from trainlint.record.parameters import named_parameters_of, parameters_of
from trainlint.record.provenance import Provenance
from trainlint.record.retained import Kept
from trainlint.record.seeds import Seeds
from trainlint.record.seen import Backward, Batch, Call, Happening, Loader, OptimizerSeen, Rebuilt, SchedulerSeen, StepSeen
from trainlint.record.shadows import Shadow
from trainlint.record.tape import Tape

__all__ = ["Recording"]


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
    cast_at: Place | None = None
    """Where a module's weights were last turned into numbers of 16 bits."""
    seeded_at: list[Place] = field(default_factory=list)
    """Where torch's global generator was seeded last, and the lines that this was called from."""
    seeds: Seeds = field(default_factory=Seeds)
    step_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    status: str = "recorded"
    answers: Answers = field(default_factory=Answers)
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
    casts: dict[Place, Cast] = field(default_factory=dict)
    """Numbers that were cast to an index, by line."""
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

    @property
    def turns(self) -> int:
        """Optimizers that take turns: 1 where several always step on the gradients of the same backward(), as for a body and a head."""
        taken = [[s.kept for s in seen.steps] for seen in self.training]
        steps = min((len(t) for t in taken), default=0)
        together = steps > 0 and all(t[:steps] == taken[0][:steps] and all(t[:steps]) for t in taken)
        return 1 if together else len(taken)

    def models(self) -> list[nn.Module]:
        """The outermost called modules that took part in training, in order of their first call."""
        shown = self._shown()
        trained = {id(p) for o in self.training for p in o.parameters} | {i for b in self.backwards for i in b.reached} - shown
        found: dict[int, nn.Module] = {}
        for call in self.calls:
            own = [id(p) for p in parameters_of(call.module)]
            if any(i in trained for i in own) or (call.trained and not (own and shown.issuperset(own))):
                found.setdefault(id(call.module), call.module)
        inner = {id(m) for module in found.values() for m in module.modules() if m is not module}
        return [m for m in found.values() if id(m) not in inner]

    def _shown(self) -> set[int]:
        """Identities of parameters that got gradients before the first step only, by a backward() that reached nothing which is trained.

        A gradient is shown so on a model that is thrown away, before the training begins with another.
        """
        if not self.training:
            return set()
        held, begun = {id(p) for o in self.training for p in o.parameters}, self.steps[0].happening
        for_show = {b.index for b in self.backwards if b.happening < begun and not b.reached & held}
        reached = {i for b in self.backwards if b.index not in for_show for i in b.reached}
        return {i for b in self.backwards if b.index in for_show for i in b.reached} - reached

    def named_parameters(self) -> Iterator[tuple[str, str, nn.Module, nn.Parameter]]:
        """``(name, module name, module, parameter)`` of all models, each parameter once; names start with the class when there are several models."""
        models = self.models()
        seen: set[int] = set()
        for model in models:
            prefix = f"{type(model).__name__}." if len(models) > 1 else ""
            for module_name, module in model.named_modules():
                for name, parameter in named_parameters_of(module, recurse=False):
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
