"""Gives each sample the inputs of another and looks whether predictions, or at least gradients, change."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from trainlint.measurements import Collapsed, Influence, InputEffect
from trainlint.probes.data.flow import trace
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.exchange import Exchange
from trainlint.probes.step.predictions import predictions
from trainlint.probes.step.weights import weights_at
from trainlint.record.operation import Operation
from trainlint.record.random_state import random_kept, seed_torch
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward, Call
from trainlint.record.snapshot import Snapshot, state_tensors
from trainlint.record.structure import tensor_leaves
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_influence"]

#: Relative change below which two results are equal but for the order of sums; for gradients, which are sums of many.
_EQUAL, _EQUAL_GRADIENTS = 1e-6, 1e-4
#: A sum in another order differs by rounding, which weighs more where terms cancel; what changes by more than this is no rounding.
_CLEAR = 1e-3
#: Steps in which all numbers must have become one integer.
_STEPS = 3


def measure_influence(recording: Recording, deadline: float, settings: Settings) -> Influence:
    """Exchange all inputs at once, then each alone; where all are ignored, once more at the weights that training began with."""
    cast = tuple(_collapsed(recording))
    try:
        found = _influence(recording, deadline)
        if found.together is not None and _ignored(found.together):  # steps that were far too large can leave a sound model dead
            with weights_at(recording, recording.initial):
                found = _influence(recording, deadline)
    except CannotMeasureError:
        if not cast:
            raise
        return Influence(collapsed=cast)
    return replace(found, collapsed=cast)


def _collapsed(recording: Recording) -> Iterator[Collapsed]:
    for place, cast in recording.casts.items():
        where = recording.frames.location(place)
        if cast.collapsed and cast.steps >= _STEPS and where is not None:
            yield Collapsed(numbers=cast.numbers, low=cast.low, high=cast.high, look_up=cast.look_up, where=where)


def _ignored(effect: InputEffect) -> bool:
    return effect.change <= _EQUAL and effect.gradient_change <= _EQUAL_GRADIENTS


def _influence(recording: Recording, deadline: float) -> Influence:
    tape, backward = recording.tape, recording.tape_backward
    if tape is None or backward is None or recording.trust == "none":
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    call = _call_before(recording, backward)
    entered = _entered(recording, backward)
    slots = {path: slot for path, slot in tape.batch.items() if slot in trace(tape, tape.batch.values()).inputs}
    if not slots:
        return _unconnected(recording, tape, call, entered)
    step = _Step(Exchange(tape, backward, recording), list(slots.values()))
    together = step.effect("all inputs", list(slots.values()))
    alone: list[InputEffect] = []
    others = {path: t for path, t in entered.items() if path not in tape.batch}
    if together.change > _EQUAL:
        for path, slot in slots.items():
            if len(slots) + len(others) > 1 and step.differs(slot) and time.monotonic() < deadline:
                alone.append(step.effect(path, [slot]))
        alone += _unused(call, others, entered)
    lost = step.lost() if _ignored(together) else None
    return Influence(
        together=together,
        inputs=tuple(alone),
        samples=step.exchange.samples,
        model=type(call.module).__name__ if call is not None else "",
        lost_in=lost.name.strip("_") if lost is not None else "",
        where=recording.frames.location(lost.place if lost is not None else call.place if call is not None else backward.place),
    )


@dataclass
class _Step:
    """The recorded step, and what it predicts."""

    exchange: Exchange
    inputs: Sequence[int]

    def __post_init__(self) -> None:
        tape = self.exchange.tape
        self.judged = [p for p in predictions(tape, self.exchange.samples) if p.slot in tape.producers]
        if not self.judged:
            msg = "no tensor that leads to the loss has one row a sample"
            raise CannotMeasureError(msg)
        self.slots = tuple(p.slot for p in self.judged)
        if not any(map(self.differs, self.inputs)):
            msg = "all samples of the recorded batch have the same inputs"
            raise CannotMeasureError(msg)
        self.before = self.exchange.replayed({}, self.slots)

    @cached_property
    def gradients(self) -> dict[int, Tensor]:
        """Of the loss, by slot; needed where no prediction changes."""
        return self.exchange.gradients({})

    def differs(self, slot: int) -> bool:
        """Whether another sample's input is another one."""
        return not torch.equal(self._exchanged(slot), self.exchange.tensors[slot])

    def _exchanged(self, slot: int) -> Tensor:
        return self.exchange.tensors[slot].roll(1, self.exchange.axes.get(slot, 0))

    def effect(self, path: str, slots: Sequence[int]) -> InputEffect:
        """What changes when each sample gets these inputs of the one before it."""
        fill: dict[int, Tensor] = {}
        change = 0.0
        # A model that pools over all rows of its batch does not mind their order, so other values are tried as well.
        for other in (self._exchanged, lambda s: _scrambled(self.exchange.tensors[s])):
            if change <= _CLEAR:
                fill = {s: other(s) for s in slots}
                after = self.exchange.replayed(fill, self.slots)
                change = max(change, *(_relative(self.before[s], after[s]) for s in self.slots))
        tensor = self.exchange.tensors[slots[0]]
        return InputEffect(
            path=path,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            change=change,
            gradient_change=self._gradient_change(fill) if change <= _EQUAL else 0.0,
        )

    def _gradient_change(self, fill: Mapping[int, Tensor]) -> float:
        """How far the gradients are apart, over their length."""
        after = self.exchange.gradients(fill)
        norm = sum(float(g.double().pow(2).sum()) for g in self.gradients.values()) ** 0.5
        apart = sum(float((g.double() - after[s].double()).pow(2).sum()) for s, g in self.gradients.items() if s in after) ** 0.5
        return apart / norm if norm else 0.0

    def lost(self) -> Operation | None:
        """The last operation on the way to a prediction that is given something that depends on the inputs and passes nothing on."""
        tape = self.exchange.tape
        before: dict[int, Tensor] = {}
        changed = {s for s in self.inputs if self.differs(s)}

        def remember(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
            before.update((s, t.detach().clone()) for s, t in zip(Tape._made(op), made, strict=False))

        def compare(position: int, op: Operation, made: tuple[Tensor, ...]) -> None:
            changed.update(s for s, t in zip(Tape._made(op), made, strict=False) if _relative(before[s], t.detach()) > _EQUAL)

        self.exchange.again((), remember)
        self.exchange.replayed({s: self._exchanged(s) for s in self.inputs}, (), compare)
        for position in tape.upstream(self.slots[-1]):
            op = tape.operations[position]
            if any(s in changed for s in op.inputs) and not any(s in changed for s in Tape._made(op)):
                return op
        return None


def _scrambled(tensor: Tensor) -> Tensor:
    """Numbers with as much noise as they have spread; ids drawn from those that occur."""
    if tensor.is_floating_point():
        noise = torch.randn(tensor.shape, dtype=torch.float32, device=tensor.device)
        return tensor + (noise * tensor.float().nan_to_num().std(correction=0)).to(tensor.dtype)
    values = tensor.unique()
    drawn: Tensor = values[torch.randint(len(values), tensor.shape, device=tensor.device)]
    return drawn


def _relative(before: Tensor, after: Tensor) -> float:
    if before.shape != after.shape:
        return 1.0
    if not before.numel() or not before.is_floating_point():
        return float(not torch.equal(before, after))
    one, other = before.detach().double().nan_to_num(), after.detach().double().nan_to_num()
    return float((one - other).abs().max()) / max(float(one.abs().max()), 1e-12)


# -- inputs that no recorded operation uses ----------------------------------------------------------------------------


def _call_before(recording: Recording, backward: Backward) -> Call | None:
    """The model call whose result went to the recorded backward()."""
    calls = [c for c in recording.calls if c.trained and c.grad and c.happening < backward.happening]
    return calls[-1] if calls else None


def _entered(recording: Recording, backward: Backward) -> dict[str, Tensor]:
    """Batch tensors that the model was called with, by path."""
    if backward.batch is None:
        return {}
    given = DataFlow(recording).entered.get(id(backward.batch), [])
    return {path: t for path, t in given if path in backward.batch.leaves}


def _unconnected(recording: Recording, tape: Tape, call: Call | None, entered: Mapping[str, Tensor]) -> Influence:
    """Judge a step whose loss no operation leads to from the batch, by calling the model again."""
    if call is None or not entered:
        msg = "the batch's inputs enter the step outside of torch, or not at all"
        raise CannotMeasureError(msg)
    rolled = {path: _scrambled(t) if t.is_floating_point() else t.roll(1, 0) for path, t in entered.items()}
    if all(torch.equal(t, entered[path]) for path, t in rolled.items()):
        msg = "all samples of the recorded batch have the same inputs"
        raise CannotMeasureError(msg)
    change = _called_again(call, list(entered.values()), list(rolled.values()))
    if change is None:
        msg = "no recorded operation leads from the batch to the loss, and the model could not be called again"
        raise CannotMeasureError(msg)
    first = next((op for op in tape.operations if op.module is not None), None)
    tensor = max(entered.values(), key=Tensor.numel)
    return Influence(
        together=InputEffect(path="all inputs", shape=tuple(tensor.shape), dtype=str(tensor.dtype), change=change, connected=False),
        samples=tensor.shape[0] if tensor.dim() else 0,
        model=type(call.module).__name__,
        where=recording.frames.location(first.place if first is not None else call.place),
    )


def _unused(call: Call | None, others: Mapping[str, Tensor], entered: Mapping[str, Tensor]) -> list[InputEffect]:
    """Inputs of numbers that the model takes as an argument of their own, and that no recorded operation uses."""
    found: list[InputEffect] = []
    for path, tensor in others.items():
        exchanged = _scrambled(tensor) if tensor.dim() > 1 and tensor.is_floating_point() else tensor
        if call is None or torch.equal(exchanged, tensor):
            continue
        change = _called_again(call, list(entered.values()), [exchanged if p == path else t for p, t in entered.items()])
        if change is not None:
            found.append(InputEffect(path=path, shape=tuple(tensor.shape), dtype=str(tensor.dtype), change=change, connected=False))
    return found


def _called_again(call: Call, given: Sequence[Tensor], other: Sequence[Tensor]) -> float | None:
    """Change of a model's outputs from one set of tensors to another; None when they are not all of its arguments, or it fails."""
    module = call.module
    try:
        parameters = inspect.signature(module.forward).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in positional if p.default is p.empty]
        anything = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        if len(given) < len(required) or (len(given) > len(positional) and not anything):
            return None
        state, modes = Snapshot(state_tensors([module])), [(m, m.training) for m in module.modules()]
        try:
            module.eval()
            with random_kept(), torch.no_grad():
                outputs = []
                for tensors in (given, other):
                    seed_torch(0)
                    outputs.append([t.clone() for _, t in tensor_leaves(module(*tensors))])
                    state.restore()
        finally:
            for part, training in modes:
                part.training = training
    except Exception:
        return None
    pairs = list(zip(*outputs, strict=False))
    return max(_relative(a, b) for a, b in pairs) if pairs else None
