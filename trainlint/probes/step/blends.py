"""Whether samples of a batch are blended before they enter the model, and whether their labels are blended with them."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor, nn

from trainlint.probes.data.flow import trace
from trainlint.probes.step.loss_terms import terms
from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["CLASS_LOSSES", "input_blend", "judged", "labels_mixed", "own_weight"]

CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"})


#: Samples changed one at a time.
_TRIED = 6


#: A change below this share of the largest is none.
_FAINT = 1e-3


#: Rows that may change with one sample besides its own; a normalisation over the batch changes all.
_FEW = 2


def judged(tape: Tape, position: int) -> bool:
    """Whether the operation at a position is a loss over classes."""
    return tape.operations[position].name in CLASS_LOSSES


def input_blend(tape: Tape) -> tuple[float, Operation | None] | None:
    """Median share of the other sample in a row that enters the first layer, and the operation that blends them.

    A share of 0 when rows stay by themselves; None when it cannot be told.
    """
    flow = trace(tape, tape.batch.values())
    for leaf in flow.inputs - flow.targets:
        x = tape.pristine.get(leaf, tape.outside[leaf])
        if not x.is_floating_point() or x.dim() < 2 or x.shape[0] < 4:
            continue
        entry, position, derived = _entry(tape, leaf)
        if entry == leaf:
            return 0.0, None
        shape = tape.shapes.get(entry) if entry is not None else None
        if entry is None or not shape or shape[0] != x.shape[0]:
            continue
        shares = _shares(tape, leaf, x, entry, position)
        if shares is None or _by_given_indices(tape, entry, derived):
            return 0.0, None
        return (statistics.median(shares), _blender(tape, entry, derived)) if shares else (0.0, None)
    return None


def _entry(tape: Tape, leaf: int) -> tuple[int | None, int, set[int]]:
    """Slot in which a batch tensor meets the first parameter, the position of that operation, and the slots in between."""
    derived = {leaf}
    for position, op in enumerate(tape.operations):
        touched = [s for s in op.inputs if s in derived]
        if touched and any(isinstance(tape.outside.get(s), nn.Parameter) for s in op.inputs):
            return touched[0], position, derived
        if touched:
            derived.update(op.outputs if op.mutates is None else (*op.outputs, op.mutates))
    return None, 0, derived


def _shares(tape: Tape, leaf: int, x: Tensor, entry: int, position: int) -> list[float] | None:
    """For some samples, the part of a change of theirs that shows in another row; None when it shows in many."""
    rows = x.shape[0]

    def enters(value: Tensor) -> Tensor:
        return tape.replay({leaf: value}, random_of=tape, keep=(entry,), until=position - 1, grad=False)[entry].detach().double().flatten(1)

    before = enters(x.clone()).clone()
    spread = float(x.double().std()) or 1.0
    shares = []
    for row in {round(i * (rows - 1) / (_TRIED - 1)) for i in range(_TRIED)}:
        changed = x.clone()
        changed[row] += spread
        change = (enters(changed) - before).abs().sum(1)
        own, total = float(change[row]), float(change.sum())
        others = int((change > _FAINT * float(change.max())).sum()) - (own > _FAINT * float(change.max()))
        if others > _FEW:
            return None
        if total > 0 and others and own > 0:
            shares.append((total - own) / total)
    return shares


def _by_given_indices(tape: Tape, entry: int, derived: set[int]) -> bool:
    """Whether rows meet by indices that the batch itself gives, as the nodes of a graph do along its edges."""
    given = {s for s in tape.batch.values() if not tape.outside[s].is_floating_point()}
    for position in reversed(list(tape.upstream(entry))):
        op = tape.operations[position]
        if any(s in given for s in op.inputs):
            if any(s in derived for s in op.inputs):
                return True
            given.update(op.outputs)
    return False


def _blender(tape: Tape, entry: int, derived: set[int]) -> Operation | None:
    """The operation nearest to the first layer that takes two tensors made of the batch's."""
    for position in tape.upstream(entry):
        op = tape.operations[position]
        if sum(s in derived for s in op.inputs) > 1:
            return op
    return None


def labels_mixed(tape: Tape) -> bool | None:
    """Whether another sample's label reaches the target of a row in any loss call; None when no label can be followed."""
    wanted = {ref.slot for p in tape.observed if judged(tape, p) and isinstance(ref := tape.operations[p].argument(1, "target"), Ref)}
    flow = trace(tape, tape.batch.values())
    for leaf in flow.targets - flow.inputs:
        labels = tape.pristine.get(leaf, tape.outside[leaf])
        if not labels.dim() or labels.shape[0] < 4:
            continue
        slots = tuple(s for s in wanted if tape.shapes.get(s, tuple(labels.shape))[:1] == labels.shape[:1])
        if len(slots) != len(wanted) or not slots:
            return None
        before = _targets(tape, leaf, labels.clone(), slots)
        rows = labels.shape[0]
        for row in {round(i * (rows - 1) / (_TRIED - 1)) for i in range(_TRIED)}:
            changed = labels.clone()
            changed[row] = next((v for v in labels if not torch.equal(v, labels[row])), labels[row])
            after = _targets(tape, leaf, changed, slots)
            for slot in slots:
                apart = (after[slot].double() != before[slot].double()).reshape(rows, -1).any(1)
                if bool(apart.sum() > apart[row]):
                    return True
        return False
    return None


def own_weight(tape: Tape) -> float | None:
    """Share of the loss calls' weights that goes to those whose target is the sample's own label."""
    weighted = [t for t in terms(tape) if t.position in tape.observed and judged(tape, t.position)]
    flow = trace(tape, tape.batch.values())
    for leaf in flow.targets - flow.inputs:
        labels = tape.pristine.get(leaf, tape.outside[leaf])
        refs = [tape.operations[t.position].argument(1, "target") for t in weighted]
        slots = tuple(ref.slot for ref in refs if isinstance(ref, Ref))
        if labels.dim() != 1 or labels.shape[0] < 4 or len(weighted) != 2 or len(set(slots)) != 2:
            continue
        if any(tape.shapes.get(s, tuple(labels.shape)) != tuple(labels.shape) for s in slots):
            continue
        numbered = torch.arange(len(labels), device=labels.device) % (int(labels.max()) + 1)
        found = {s: numbered if s == leaf else t for s, t in _targets(tape, leaf, numbered, tuple(s for s in slots if s != leaf)).items()}
        own = [leaf == slot or bool(torch.equal(found[slot], numbered)) for slot in slots]
        total = sum(t.factor for t in weighted)
        if sum(own) == 1 and total:
            return weighted[own.index(True)].factor / total
    return None


def _targets(tape: Tape, leaf: int, value: Tensor, slots: tuple[int, ...]) -> dict[int, Tensor]:
    found = tape.replay({leaf: value}, random_of=tape, keep=slots, grad=False)
    return {s: found[s].detach().clone() for s in slots}
