"""Follows recorded tensors from the batch: which entered the model, which entered the loss, and where.

Two sources are read together. The tape of a training step shows what each tensor of the batch met: a tensor that meets
parameters while more parameters lie ahead is an input; one that meets a result of the parameters with none ahead is a target.
The tensors that a model was called with are compared with those of the batch by value, which also holds after a move to a device.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainlint.probes.leaves import Role
from trainlint.record.recording import Backward, Batch, Call, Recording
from trainlint.record.tape import Operation, Tape
from trainlint.record.tapewriter import LOSS_FUNCTIONS

__all__ = ["DataFlow", "Flow", "trace"]

#: backward() calls and model calls without gradients that are looked at.
_MOST_BACKWARDS, _MOST_CALLS = 12, 64
#: Loss functions whose third argument is a target too.
_THIRD_IS_TARGET = frozenset({"cosine_embedding_loss", "margin_ranking_loss"})
#: Operations that change the scale of a tensor.
_RESCALES = frozenset({
    "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "true_divide", "addcdiv", "normalize", "layer_norm", "batch_norm", "group_norm",
    "instance_norm", "log", "log1p",
})  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """Where the sources of one tape went, by slot."""

    inputs: frozenset[int]
    targets: frozenset[int]
    first_layer: str
    """Class of the module that first brings parameters (or a norm) to the main source."""
    rescaled: bool
    """The model rescales the main source before that."""


def trace(tape: Tape, sources: Collection[int], main: int | None = None) -> Flow:
    """Follow source slots through the operations of a tape. ``main`` is the source whose first layer is of interest."""
    ahead = _parameters_ahead(tape)
    parameters = tape.leaves.keys() | tape.parameters.keys()
    learned = set(parameters)
    carried: dict[int, frozenset[int]] = {s: frozenset([s]) for s in sources}
    scored: set[int] = set()
    inputs: set[int] = set()
    targets: set[int] = set()
    touched = {main}
    first_layer, rescaled = "", False
    for position, op in enumerate(tape.operations):
        plain = frozenset[int]().union(*(carried.get(s, ()) for s in op.inputs if s not in learned))
        made = op.outputs if op.mutates is None else (*op.outputs, op.mutates)
        mixed = any(s in learned for s in op.inputs)
        if not first_layer and any(s in touched for s in op.inputs):
            touched.update(made)
            kind = type(op.module).__name__ if op.module is not None else ""
            if kind and (any(s in parameters for s in op.inputs) or "Norm" in kind):
                first_layer = kind
            elif kind and not mixed and op.name in _RESCALES:
                rescaled = True
        if not mixed:
            carried.update((s, plain) for s in made if plain)
            continue
        learned.update(made)
        if op.name in LOSS_FUNCTIONS or any(s in scored for s in op.inputs):
            scored.update(made)
        if op.name in LOSS_FUNCTIONS:
            targets.update(s for slot in _compared(op) if slot not in learned for s in carried.get(slot, ()))
        elif ahead[position]:
            inputs |= plain
        elif not any(s in scored for s in op.inputs):
            targets |= plain
    return Flow(frozenset(inputs), frozenset(targets), first_layer, rescaled)


def _parameters_ahead(tape: Tape) -> list[bool]:
    """For each operation, whether it or one that uses its results takes a parameter."""
    parameters = tape.leaves.keys() | tape.parameters.keys()
    leading: set[int] = set()
    ahead = [False] * len(tape.operations)
    for position in range(len(tape.operations) - 1, -1, -1):
        op = tape.operations[position]
        made = op.outputs if op.mutates is None else (*op.outputs, op.mutates)
        ahead[position] = any(s in parameters for s in op.inputs) or any(s in leading for s in made)
        if ahead[position]:
            leading.update(op.inputs)
    return ahead


def _compared(op: Operation) -> list[int]:
    """Slots of a loss call's prediction and target, not of its weights."""
    count = 3 if op.name in _THIRD_IS_TARGET else 2
    names = ("input", "target", "targets", "log_probs", "input1", "input2")
    found = [*op.args[:count], *(op.kwargs[n] for n in names if n in op.kwargs)]
    return [slot for ref in found if (slot := getattr(ref, "slot", None)) is not None]


@dataclass
class DataFlow:
    """The roles of the tensors of all recorded batches."""

    recording: Recording
    roles: dict[tuple[int, str], Role] = field(default_factory=dict)
    """(loader, path) -> what became of that tensor in training."""
    entered: dict[int, list[tuple[str, Tensor]]] = field(default_factory=dict)
    """id of a recorded batch -> what the model was called with, by path; tensors that the loop changed are called ``input 0`` …"""
    loose: list[tuple[Backward, list[tuple[str, Tensor]], list[tuple[str, Tensor]]]] = field(default_factory=list)
    """backward() calls that used no recorded batch, with their inputs and targets."""
    trained: set[int] = field(default_factory=set)
    """Loaders whose batches were trained on."""
    changed: bool = False
    """The loop changes inputs between the loader and the model."""
    first_layer: str = ""
    rescaled: bool = False

    def __post_init__(self) -> None:
        self._states = {
            (m.num_layers * (2 if m.bidirectional else 1), m.hidden_size)
            for model in self.recording.models()
            for m in model.modules()
            if isinstance(m, nn.RNNBase)
        }
        told: dict[tuple[int, str], set[Role]] = {}
        met: set[tuple[int, str]] = set()
        for backward in self.recording.backwards[:_MOST_BACKWARDS]:
            given = self._data(t for _, t in backward.inputs)
            batch, named = self._match(given, backward.batch, self.recording.batches)
            if batch is None or not batch.leaves:
                self._follow_loose(backward, given)
                continue
            self._enter(batch, named)
            self.trained.update(_loader(b) for b in (batch, *(b for b, _, _ in named)) if b is not None)
            met.update((_loader(b), path) for b, path, _ in named if b is not None)
            if backward.tape is not None and batch is backward.batch:
                self._follow(backward.tape, batch, told)
        self._settle(told, met)
        self._validation()

    def role(self, loader: int, path: str) -> Role:
        """What a loader's tensor is used for; for a loader that was not trained on, what its namesake was used for."""
        if (loader, path) in self.roles:
            return self.roles[loader, path]
        return next((role for (_, other), role in self.roles.items() if other == path), "other")

    def phase(self, batch: Batch) -> str:
        """``train``, ``val`` or empty; the first loader's batches count as training when nothing was trained yet."""
        if batch.iteration is None:
            return "train"
        phase = batch.iteration.phase
        if not phase and batch.iteration.loader.index in self.trained:  # of several loaders side by side only the last is seen training
            return "train"
        if phase != "train" and not self.recording.backwards:
            return "train" if _loader(batch) == _loader(self.recording.batches[0]) else phase
        return phase

    def _data(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """The tensors that hold data: neither scalars, nor made by a layer before, nor the state of a recurrent layer."""
        found = {id(t): t for t in tensors if t.dim() > 0 and t.numel() and not t.requires_grad}
        return [t for t in found.values() if not (t.dim() == 3 and (t.shape[0], t.shape[2]) in self._states)]

    def _match(
        self, given: Sequence[Tensor], likely: Batch | None, batches: Sequence[Batch]
    ) -> tuple[Batch | None, list[tuple[Batch | None, str, Tensor]]]:
        """The batch that most of the tensors come from, and for each its batch and path, where it is one of a batch's."""
        order = [*([likely] if likely else []), *(b for b in batches if b is not likely)]
        named: list[tuple[Batch | None, str, Tensor]] = []
        taken: set[tuple[int, str]] = set()
        for tensor in given:
            found = next(((b, p) for b in order if (p := _path_of(tensor, b, taken)) is not None), None)
            if found is not None:
                taken.add((id(found[0]), found[1]))
            named.append((found[0] if found else None, found[1] if found else "", tensor))
        owners = [b for b, _, _ in named if b is not None]
        return max(owners, key=owners.count) if owners and likely not in owners else likely, named

    def _enter(self, batch: Batch, named: Sequence[tuple[Batch | None, str, Tensor]]) -> None:
        for number, (owner, path, tensor) in enumerate(named):
            entries = self.entered.setdefault(id(owner or batch), [])
            if not any(tensor is known for _, known in entries):
                entries.append((path or f"input {number}", tensor))

    def _follow(self, tape: Tape, batch: Batch, told: dict[tuple[int, str], set[Role]]) -> None:
        main = max(tape.batch.values(), key=lambda s: tape.outside[s].numel(), default=None)
        flow = trace(tape, tape.batch.values(), main)
        if main is not None and main not in flow.inputs and flow.inputs:
            main = max(flow.inputs, key=lambda s: tape.outside[s].numel())
            flow = trace(tape, tape.batch.values(), main)
        self.first_layer = self.first_layer or flow.first_layer
        self.rescaled |= flow.rescaled
        for path, slot in tape.batch.items():
            key = (_loader(batch), path)
            told.setdefault(key, set())
            if slot in flow.inputs:
                told[key].add("input")
            if slot in flow.targets:
                told[key].add("target")

    def _follow_loose(self, backward: Backward, given: Sequence[Tensor]) -> None:
        """A step without a loader: what the model was called with are inputs, other values that reach the loss are targets."""
        inputs = [(f"input {i}", t) for i, t in enumerate(given)]
        targets: list[Tensor] = []
        if (tape := backward.tape) is not None:
            own = {b.data_ptr() for m in self.recording.models() for b in m.buffers() if b.numel()}
            entering = {t.data_ptr() for t in given}
            sources = {s: t for s, t in tape.constants.items() if t.dim() > 0 and t.numel() and _address(t) not in own}
            main = max((s for s, t in sources.items() if _address(t) in entering), key=lambda s: sources[s].numel(), default=None)
            flow = trace(tape, sources, main)
            self.first_layer = self.first_layer or flow.first_layer
            self.rescaled |= flow.rescaled
            labels = [s for s in sources if s in flow.targets - flow.inputs]
            targets = [sources[s] for s in sorted(labels) if sources[s].numel() > 1]
            inputs = [(n, t) for n, t in inputs if all(_address(t) != _address(sources[s]) for s in labels)]
        self.loose.append((backward, inputs, [(f"target {i}", t) for i, t in enumerate(targets)]))

    def _settle(self, told: dict[tuple[int, str], set[Role]], met: set[tuple[int, str]]) -> None:
        """One role each. What is both input and target is an input, but a class label that some layer also looks up is a target."""
        leaves = {(_loader(b), path): t for b in self.recording.batches for path, t in b.leaves.items()}
        plain = {key[0] for key, roles in told.items() if roles == {"input"}}
        for key, roles in told.items():
            label = not leaves[key].is_floating_point() and leaves[key].dim() == 1 if key in leaves else False
            if "target" in roles and (roles == {"target"} or (label and key[0] in plain)):
                self.roles[key] = "target"
            elif roles or key in met:
                self.roles[key] = "input"
        for key in met:
            self.roles.setdefault(key, "input")
        self.changed = any(role == "input" and key not in met for key, role in self.roles.items())
        for loader in {key[0] for key in met if not any(k[0] == key[0] for k in told)}:
            rest = [key for key in leaves if key[0] == loader and key not in self.roles]
            if len(rest) == 1:  # the step could not be taped, and of the usual pair one went into the model
                self.roles[rest[0]] = "target"

    def _validation(self) -> None:
        calls = [c for c in self.recording.calls if c.inputs and c.iteration is not None and c.iteration.phase == "val"]
        for call in calls[:_MOST_CALLS]:
            batches = [b for b in self.recording.batches if b.iteration is call.iteration]
            batch, named = self._match(self._data(call.inputs), self._batch_at(call, batches), batches)
            if batch is not None:
                targets = {path for owner, path, _ in named if owner is not None and self.role(_loader(owner), path) == "target"}
                self._enter(batch, [entry for entry in named if entry[1] not in targets])

    def _batch_at(self, call: Call, batches: Iterable[Batch]) -> Batch | None:
        for happening in reversed(self.recording.happenings[: call.happening + 1]):
            if happening.kind == "batch" and happening.iteration is call.iteration:
                return next((b for b in batches if b.position == happening.info.get("number", 0) - 1), None)
        return None


def _path_of(tensor: Tensor, batch: Batch, taken: Collection[tuple[int, str]]) -> str | None:
    """The path at which a batch holds a tensor's values, under the same shape but for a flattening."""
    first = batch.identities.get(id(tensor))
    for path in [*([first] if first is not None else []), *batch.leaves]:
        leaf = batch.leaves.get(path)
        if leaf is None or (id(batch), path) in taken or leaf.numel() != tensor.numel() or leaf.shape[:1] != tensor.shape[:1]:
            continue
        if _equal(leaf, tensor):
            return path
    return None


def _equal(leaf: Tensor, tensor: Tensor) -> bool:
    try:
        for most in (32, None):  # the first few values tell nearly all tensors apart
            mine, theirs = leaf.reshape(-1)[:most], tensor.detach().reshape(-1)[:most]
            mine = mine.to(theirs.device, theirs.dtype)
            if not torch.equal(mine, theirs) and not torch.equal(mine.nan_to_num(), theirs.nan_to_num()):
                return False
    except (RuntimeError, NotImplementedError, TypeError):
        return False
    return True


def _address(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return -id(tensor)


def _loader(batch: Batch) -> int:
    return batch.iteration.loader.index if batch.iteration is not None else -1
