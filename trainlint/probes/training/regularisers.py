"""What regularises a recorded step, and how to switch it off; and what kind of network the step runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from trainlint.measurements import Regulariser
from trainlint.record.operation import Operation, Ref, without_regularisation
from trainlint.record.recording import Recording
from trainlint.record.tape import Tape

__all__ = ["Change", "has_attention", "is_post_norm", "regularisers", "unregularised", "without"]

Change = Callable[[Operation], Operation]

_ATTENTION = frozenset({"multi_head_attention_forward", "scaled_dot_product_attention"})
_PRODUCTS = frozenset({"matmul", "__matmul__", "bmm", "einsum", "baddbmm"})
_SUMS = frozenset({"add", "__add__", "__radd__", "add_", "__iadd__"})
#: Steps that are replayed, and the share of a weight whose loss over them shows nothing.
_STEPS, _SLIGHT = 32, 0.01
#: Position of a dropout probability, by name of the call.
_PROBABILITY = {"scaled_dot_product_attention": (4, "dropout_p"), "multi_head_attention_forward": (10, "dropout_p")}


def unregularised(op: Operation) -> Operation:
    """The same operation without dropout, stochastic depth, attention dropout and label smoothing."""
    return _unsmoothed(without_regularisation(op))


def without(kind: str) -> Change:
    """Switches off the operations of one kind only."""
    if kind == "label smoothing":
        return _unsmoothed
    return lambda op: without_regularisation(op) if _kind(op) == kind else op


def _unsmoothed(op: Operation) -> Operation:
    if op.name != "cross_entropy" or not op.argument(7, "label_smoothing", 0.0):
        return op
    changed = Operation(**{k: getattr(op, k) for k in Operation.__slots__})
    if len(op.args) > 7:
        changed.args = (*op.args[:7], 0.0)
    else:
        changed.kwargs = {**op.kwargs, "label_smoothing": 0.0}
    return changed


def _kind(op: Operation) -> str:
    if op.name == "bernoulli_":
        return "drop path"
    return "dropout" if without_regularisation(op) is not op else ""


def regularisers(recording: Recording, tape: Tape) -> list[Regulariser]:
    """Each kind that acts on the recorded step, the strongest of its kind with its place."""
    strongest: dict[str, Regulariser] = {}

    def note(kind: str, strength: float, place: object) -> None:
        if strength > 0 and (kind not in strongest or strength > strongest[kind].strength):
            strongest[kind] = Regulariser(kind=kind, strength=strength, where=recording.frames.location(place))  # type: ignore[arg-type]

    for op in tape.operations:
        place = recording.places.get(id(op.module), op.place) if op.module is not None else op.place
        if (kind := _kind(op)) and (probability := _probability(op)) is not None:
            note(kind, probability, place)
        if op.name == "cross_entropy":
            own = place if op.module is not None and not op.module._modules else op.place
            note("label smoothing", float(op.argument(7, "label_smoothing", 0.0) or 0.0), own)
    seen = recording.main
    if seen is not None and not _is_slight(seen.optimizer):
        note("weight decay", max(float(g.get("weight_decay", 0.0) or 0.0) for g in seen.optimizer.param_groups), seen.place)
    return list(strongest.values())


def _is_slight(optimizer: Optimizer) -> bool:
    """Whether decay shrinks the weights by next to nothing in the replayed steps. Adam's own decay is divided like a gradient: no telling."""
    if not isinstance(optimizer, torch.optim.AdamW | torch.optim.SGD):
        return False
    groups = optimizer.param_groups
    rates = [float(g["lr"]) * float(g.get("weight_decay", 0.0) or 0.0) / (1 - min(float(g.get("momentum", 0.0)), 0.99)) for g in groups]
    return max(rates, default=0.0) * _STEPS < _SLIGHT


def _probability(op: Operation) -> float | None:
    """Share of what is dropped; None when the call does not say."""
    if op.name == "bernoulli_":
        kept = op.argument(1, "p", 0.5)
        return 1.0 - kept if isinstance(kept, float) else None
    if op.name in _PROBABILITY:
        given = op.argument(*_PROBABILITY[op.name], 0.0)
    elif "dropout" in op.name:
        if op.argument(2, "train" if op.name == "native_dropout" else "training", True) is False:
            return None
        given = op.argument(1, "p", 0.5)
    else:  # recurrent layers: the dropout between layers is the one float among the arguments
        given = next((a for a in op.args if type(a) is float), 0.0)
    return float(given) if isinstance(given, int | float) else None


def has_attention(tape: Tape) -> bool:
    """Whether attention is on the tape: torch's own, or a product with a softmax of a product."""
    if any(op.name in _ATTENTION for op in tape.operations):
        return True
    products = {s for op in tape.operations if op.name in _PRODUCTS for s in op.outputs}
    for op in tape.operations:
        if op.name != "softmax" or not op.outputs:
            continue
        before = any(tape.operations[p].name in _PRODUCTS for p in _nearest(tape, op.inputs[0]))
        after = {op.outputs[0]}
        for _ in range(4):  # dropout and reshapes may stand between
            users = [tape.operations[p] for s in after for p in tape.consumers(s)]
            if before and any(set(u.outputs) & products for u in users):
                return True
            after = {s for u in users for s in u.outputs}
    return False


def _nearest(tape: Tape, slot: int) -> list[int]:
    return [p for p, _ in zip(tape.upstream(slot), range(8), strict=False)]


def is_post_norm(tape: Tape) -> bool:
    """Whether most residual sums go into a layer norm and nowhere else."""
    alone = total = 0
    for op in tape.operations:
        given = op.argument(0, "input")
        if op.name != "layer_norm" or not isinstance(given, Ref):
            continue
        maker = tape.producers.get(given.slot)
        if maker is not None and tape.operations[maker].name in _SUMS:
            total += 1
            alone += len(tape.consumers(given.slot)) == 1
    return total > 1 and alone > total / 2
