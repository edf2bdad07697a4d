"""What becomes of soft and mixed targets on the way to the loss, read off the tape and by changing single samples.

Whether inputs are blended is not told by names: one sample's input is changed, and the rows that enter the first layer are looked at.
A row that changes with two samples is a blend. The same with labels, at the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from trainlint.measurements import SoftTargets, TargetCall
from trainlint.probes.data.collated import Collated, blend_in_collate
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.made import made_at
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.blends import CLASS_LOSSES, input_blend, judged, labels_mixed, own_weight
from trainlint.record.operation import Operation, Ref
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["measure_soft_targets"]

_PICKS = frozenset({"argmax", "max", "topk"})
_CASTS = frozenset({"long", "int", "round", "round_", "to", "type", "type_as", "bool"})
#: A target is soft when its largest class has less than this weight.
_HARD = 0.99
#: A blend has at least this share of either sample.
_LEAST_BLEND = 0.01


@dataclass(frozen=True)
class _Hardening:
    op: Operation
    rows: float
    lost: float


def measure_soft_targets(recording: Recording, deadline: float, settings: Settings) -> SoftTargets:
    """Look at the loss calls of the trusted tape, at what made their targets, and at blends."""
    tape = recording.tape
    if tape is None or recording.trust == "none":
        msg = f"the recorded step cannot be replayed: {recording.trust_reason}"
        raise CannotMeasureError(msg)
    at = recording.frames.location
    calls = tuple(_call(recording, tape.operations[p], *arguments) for p, arguments in tape.observed.items() if judged(tape, p))
    hardening = next(_hardenings(tape), None)
    blend = input_blend(tape)
    mixed = blend is not None and blend[0] >= _LEAST_BLEND
    collated = None if mixed else _collated(recording)
    if collated is not None and collated.blend >= _LEAST_BLEND:
        return SoftTargets(
            calls=calls, inputs_mixed=True, mixed_where=at(collated.where), blend=collated.blend, labels_mixed=collated.labels, collated=True,
            own_weight=None if collated.label_blend is None else 1 - collated.label_blend, labels_where=at(collated.labels_where),
        )  # fmt: skip
    return SoftTargets(
        calls=calls,
        hardened_by=hardening.op.name if hardening else "",
        hardened_where=at(hardening.op.place) if hardening else None,
        hardened_rows=hardening.rows if hardening else 0.0,
        lost_weight=hardening.lost if hardening else 0.0,
        inputs_mixed=None if blend is None else mixed,
        mixed_where=at(blend[1].place) if mixed and blend is not None and blend[1] is not None else None,
        blend=blend[0] if mixed and blend is not None else 0.0,
        labels_mixed=labels_mixed(tape) if mixed else None,
        own_weight=own_weight(tape) if mixed else None,
    )


def _collated(recording: Recording) -> Collated | None:
    """What the training loader's collate function blends."""
    flow = DataFlow(recording)
    entry = next(iter(recording.loaders_of("train")), None)
    if entry is None:
        return None
    indices = next((i.indices for i in entry.iterations if i.indices), [])
    samples = Samples(entry.loader, by_lists=bool(indices) and isinstance(indices[0], list))
    found = blend_in_collate(samples, lambda path: flow.role(entry.index, path), recording.frames)
    if found is None:
        return None
    made = made_at(recording, entry)
    return replace(found, where=made.get(found.path, found.where), labels_where=made.get(found.target, found.where))


def _call(recording: Recording, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TargetCall:
    given = args[0] if args else kwargs.get("input")
    target = args[1] if len(args) > 1 else kwargs.get("target")
    smoothing = float(op.argument(7, "label_smoothing", 0.0) or 0.0) if op.name == "cross_entropy" else 0.0
    own = recording.places.get(id(op.module)) if op.module is not None and not op.module._modules and smoothing else None
    where = recording.frames.location(own or op.place)
    plain = TargetCall(kind=op.name, where=where, label_smoothing=smoothing)
    if not isinstance(given, Tensor) or not isinstance(target, Tensor) or not target.is_floating_point() or not target.numel():
        return plain
    if op.name != "cross_entropy" or target.shape != given.shape or target.dim() < 2:
        return plain
    rows = target.detach().double().movedim(1, -1).flatten(0, -2)
    sums = rows.sum(1)
    hot = bool(((rows == 0) | (rows == 1)).all()) and bool((sums > 1).any())
    least = rows.min(1).values
    smallest = float(least.median())
    even = smallest > 0 and bool((least - smallest).abs().max() < 0.01 * smallest)
    shared = even and float((rows <= 1.01 * smallest).double().mean()) >= 0.5 * (1 - 1 / rows.shape[1])
    return TargetCall(
        kind=op.name, where=where, label_smoothing=smoothing, soft=True, row_sum=float(sums.mean()), multi_hot=hot,
        smoothed_by=smallest * rows.shape[1] if shared else 0.0,
    )  # fmt: skip


# -- hardening ---------------------------------------------------------------------------------------------------------


def _hardenings(tape: Tape) -> Iterator[_Hardening]:
    """Operations between the batch and a loss's target that make hard targets of soft ones; those of a model's output are left out."""
    for position in tape.observed:
        op = tape.operations[position]
        target = op.argument(1, "target")
        if op.name not in CLASS_LOSSES or not isinstance(target, Ref):
            continue
        above = list(tape.upstream(target.slot))
        if any(isinstance(tape.outside.get(s), nn.Parameter) for p in above for s in tape.operations[p].inputs):
            continue
        for maker in above:
            made = tape.operations[maker]
            if made.name in _PICKS | _CASTS and made.inputs and (found := _softness(tape, made)) is not None:
                yield _Hardening(made, *found)


def _softness(tape: Tape, op: Operation) -> tuple[float, float] | None:
    """Share of the samples that lose weight by an operation, and the mean weight lost; None when it does not harden."""
    slot = op.inputs[0]
    before = _value(tape, slot)
    if before is None or not before.is_floating_point() or before.dim() != 2 or before.shape[1] < 2:
        return None
    values = before.detach().double()
    if bool((values < 0).any() | (values > 1).any()):
        return None
    if op.name in _PICKS:
        axis = op.argument(2, "dim") if op.name == "topk" else op.argument(1, "dim")
        if axis not in (1, -1) or not bool(((values.sum(1) - 1).abs() < 0.02).all()):
            return None
        top = values.max(1).values
        return _lost(1 - top, top < _HARD)
    after = _value(tape, op.outputs[0]) if op.outputs else None
    if after is None or (op.name in ("to", "type", "type_as") and after.is_floating_point()):
        return None
    change = (values - after.double()).abs()
    return _lost(change.sum(1), change.max(1).values > 1 - _HARD)


def _lost(weight: Tensor, rows: Tensor) -> tuple[float, float] | None:
    share = float(rows.double().mean())
    return (share, float(weight.mean())) if share >= 0.05 else None


def _value(tape: Tape, slot: int) -> Tensor | None:
    if slot in tape.outside:
        return tape.pristine.get(slot, tape.outside[slot])
    position = tape.producers.get(slot)
    if position is None:
        return None
    return tape.replay(random_of=tape, keep=(slot,), until=position, grad=False).get(slot)


# -- blends ------------------------------------------------------------------------------------------------------------
