"""Roles of recorded tensors: which entered the model, which the loss, and under which path of the batch.

Two sources are read together: the tapes of training steps, and the tensors that a model was called with, which are compared with
those of the batches by value, so that a move to a device does not hide where they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainlint.probes.data.flow import trace
from trainlint.probes.data.leaves import Role
from trainlint.probes.data.unseen import unseen_batches
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward, Batch, Call
from trainlint.record.tape import Tape

__all__ = ["DataFlow"]

#: backward() calls and model calls without gradients that are looked at.
_MOST_BACKWARDS, _MOST_CALLS = 24, 64

#: A tensor that a model was called with, with the batch it comes from and its path there.
Matched = tuple[Batch | None, str | None, Tensor]


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
    """ids of the batches that were trained on."""
    changed: bool = False
    """The loop changes inputs between the loader and the model."""
    first_layer: str = ""
    rescaled: bool = False
    unseen: list[Batch] = field(default_factory=list)
    """Batches of validation data that the script has not come to, drawn after recording."""

    def __post_init__(self) -> None:
        self._examples = {(_loader(b), path): t for b in self.recording.batches for path, t in b.leaves.items()}
        self._states = {
            (m.num_layers * (2 if m.bidirectional else 1), m.hidden_size)
            for model in self.recording.models()
            for m in model.modules()
            if isinstance(m, nn.RNNBase)
        }
        told: dict[tuple[int, str], set[Role]] = {}
        met: set[tuple[int, str]] = set()
        taped: set[int] = set()
        for backward in self.recording.backwards[:_MOST_BACKWARDS]:
            carried = {(name, t.shape) for name, t in backward.inputs if t.requires_grad}
            # Zeros where later calls of the step are given what the model made: a state, and no data.
            given = self._data(t for name, t in backward.inputs if (name, t.shape) not in carried or bool(t.any()))
            batch, named = self._match(given, backward.batch, self.recording.batches)
            if batch is None or not batch.leaves:
                self._follow_loose(backward, given)
                continue
            self._enter(batch, named)
            self.trained.update(id(b) for b in (batch, *(b for b, _, _ in named)) if b is not None)
            met.update((_loader(b), path) for b, path, _ in named if b is not None and path is not None)
            if backward.tape is not None and batch is backward.batch:
                taped.add(_loader(batch))
                self._follow(backward.tape, batch, told, given)
        self._settle(told, met)
        for loader in {key[0] for key in met} - taped:
            rest = [key for key in self._examples if key[0] == loader and key not in self.roles]
            if len(rest) == 1:  # of the usual pair one went into the model
                self.roles[rest[0]] = "target"
        self._validation()
        self.unseen = unseen_batches(self.recording, [b for b in self.recording.batches if self.phase(b) == "train"])
        self._examples |= {(_loader(b), path): t for b in self.unseen for path, t in b.leaves.items()}

    @property
    def batches(self) -> list[Batch]:
        """All batches of which something is known."""
        return [*self.recording.batches, *self.unseen]

    def role(self, loader: int, path: str) -> Role:
        """What a loader's tensor is used for; for a loader that was not trained on, what its namesake of the same kind was used for."""
        if (loader, path) in self.roles:
            return self.roles[loader, path]
        mine = _looks(self._examples.get((loader, path)))
        return next((r for key, r in self.roles.items() if key[1] == path and _looks(self._examples.get(key)) == mine), "other")

    def phase(self, batch: Batch) -> str:
        """``train``, ``val`` or empty; the first loader's batches count as training when nothing was trained yet."""
        if batch.iteration is None:
            return "train"
        if batch in self.unseen:
            return "val"
        phase = batch.iteration.phase
        if not phase and id(batch) in self.trained:  # of several loaders side by side only the last is seen training
            return "train"
        if phase != "train" and not self.recording.backwards:
            return "train" if _loader(batch) == _loader(self.recording.batches[0]) else phase
        return phase

    def _data(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """The tensors that hold data: neither scalars, nor made by a layer before, nor the state of a recurrent layer."""
        found = {id(t): t for t in tensors if t.dim() > 0 and t.numel() and not t.requires_grad}
        return [t for t in found.values() if not (t.dim() == 3 and (t.shape[0], t.shape[2]) in self._states)]

    def _match(self, given: Sequence[Tensor], likely: Batch | None, batches: Sequence[Batch]) -> tuple[Batch | None, list[Matched]]:
        """The batch that most of the tensors come from, and for each its batch and path, where it is one of a batch's."""
        order = [*([likely] if likely else []), *(b for b in batches if b is not likely)]
        named: list[Matched] = []
        taken: set[tuple[int, str]] = set()
        for tensor in given:
            found = next(((b, p) for b in order if (p := _path_of(tensor, b, taken)) is not None), None)
            if found is not None:
                taken.add((id(found[0]), found[1]))
            named.append((*(found or (None, None)), tensor))
        owners = [b for b, _, _ in named if b is not None]
        return max(owners, key=owners.count) if owners and likely not in owners else likely, named

    def _enter(self, batch: Batch, named: Sequence[Matched]) -> None:
        for number, (owner, path, tensor) in enumerate(named):
            entries = self.entered.setdefault(id(owner or batch), [])
            if not any(tensor is known for _, known in entries):
                entries.append((f"input {number}" if path is None else path, tensor))

    def _follow(self, tape: Tape, batch: Batch, told: dict[tuple[int, str], set[Role]], given: Sequence[Tensor]) -> None:
        paths = {slot: path for path, slot in tape.batch.items()}
        entering = {_address(t) for t in given}
        sources = {s: tape.outside[s] for s in paths} | {s: t for s, t in tape.constants.items() if _address(t) in entering}
        flow = trace(tape, sources)
        main = max(flow.inputs, key=lambda s: sources[s].numel(), default=None)
        self._note_first_layer(tape, main)
        for slot, path in paths.items():
            roles = told.setdefault((_loader(batch), path), set())
            roles.update(("input",) if slot in flow.inputs else ())
            roles.update(("target",) if slot in flow.targets | flow.inside else ())

    def _note_first_layer(self, tape: Tape, main: int | None) -> None:
        if main is not None and not self.first_layer:
            flow = trace(tape, [main], main)
            self.first_layer, self.rescaled = flow.first_layer, flow.rescaled

    def _follow_loose(self, backward: Backward, given: Sequence[Tensor]) -> None:
        """A step without a loader: what the model was called with are inputs, other values that reach the loss are targets."""
        inputs = [(f"input {i}", t) for i, t in enumerate(given)]
        targets: list[Tensor] = []
        if (tape := backward.tape) is not None:
            own = {_address(b) for m in self.recording.models() for b in m.buffers() if b.numel()}
            entering = {_address(t) for t in given}
            sources = {s: t for s, t in tape.constants.items() if t.dim() > 0 and t.numel() and _address(t) not in own}
            main = max((s for s, t in sources.items() if _address(t) in entering), key=lambda s: sources[s].numel(), default=None)
            self._note_first_layer(tape, main)
            flow = trace(tape, sources)
            labels = [s for s in sources if s in flow.targets - flow.inputs]
            targets = [sources[s] for s in sorted(labels) if sources[s].numel() > 1]
            inputs = [(n, t) for n, t in inputs if not any(t.numel() == sources[s].numel() and _equal(sources[s], t) for s in labels)]
        self.loose.append((backward, inputs, [(f"target {i}", t) for i, t in enumerate(targets)]))

    def _settle(self, told: dict[tuple[int, str], set[Role]], met: set[tuple[int, str]]) -> None:
        """One role each. What is both input and target is an input, but a class label that some layer also looks up is a target."""
        leaves = self._examples
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

    def _validation(self) -> None:
        calls = [c for c in self.recording.calls if c.inputs and c.iteration is not None and c.iteration.phase == "val"]
        behind = {id(c.module) for c in self.recording.calls if c.fed}
        for call in calls[:_MOST_CALLS]:
            batches = [b for b in self.recording.batches if b.iteration is call.iteration]
            batch, named = self._match(self._data(call.inputs), self._batch_at(call, batches), batches)
            if id(call.module) in behind:  # what is not of the batch comes from the model before it
                named = [(b, p, t) for b, p, t in named if p is not None]
            if batch is not None and named:
                self._enter(batch, [(b, p, t) for b, p, t in named if b is None or p is None or self.role(_loader(b), p) != "target"])

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


def _looks(tensor: Tensor | None) -> tuple[int, bool] | None:
    return (tensor.dim(), tensor.is_floating_point()) if tensor is not None else None


def _address(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return -id(tensor)


def _loader(batch: Batch) -> int:
    return batch.iteration.loader.index if batch.iteration is not None else -1
