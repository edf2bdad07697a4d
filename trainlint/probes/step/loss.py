"""The first loss: which functions made it, from what, and what a model that knows nothing would get."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainlint.location import Location
from trainlint.measurements import Loss, LossCall
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.answers import answers
from trainlint.probes.step.crossed import crossed_pairs
from trainlint.probes.step.divergence import outweighing_divergence
from trainlint.probes.step.loss_input import activation_of, maker_of, output_weight, softmax_axis
from trainlint.probes.step.loss_terms import summed_beside_a_mean
from trainlint.probes.step.loss_weights import weighed_at
from trainlint.probes.step.tables import first_scale, multiplied_tables
from trainlint.probes.step.torn import torn_scores
from trainlint.record.operation import Operation
from trainlint.record.parameters import parameters_of
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward
from trainlint.record.tape import Tape
from trainlint.settings import Settings

__all__ = ["is_mean_reduced", "main_loss_call", "measure_loss"]

_CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss", "multi_margin_loss"})
_BINARY_LOSSES = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
_REGRESSION = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})


def measure_loss(recording: Recording, deadline: float, settings: Settings) -> Loss:
    """Read the loss calls off the tapes of the first optimizer step."""
    if not recording.backwards:
        msg = "no loss reached backward()"
        raise CannotMeasureError(msg)
    first = recording.backwards[0]
    # A forced or cut loss may have its graph in none of the tapes; the calls are then unknown but the value is not.
    calls = tuple(c for b in _first_step(recording) if b.tape is not None for c in _calls(recording, b.tape))
    at_init, why = _at_init(recording)
    at = recording.frames.location
    outputs = [c for c in recording.calls if c.trained]
    tape = first.tape
    summed = summed_beside_a_mean(tape, calls) if tape is not None else None
    drowned = outweighing_divergence(tape) if tape is not None else None
    crossed = next(
        (c for b in (*_first_step(recording), *recording.turn_tapes) if b.tape is not None and (c := crossed_pairs(b.tape))), None
    )
    # torch's own losses are known to fall with right answers, as long as nobody takes them negative
    own = not calls or first.value < 0 < sum(c.value for c in calls)
    answered = answers(recording) if own else None
    return Loss(
        answers=answered,
        crossed_where=at(crossed.operation.place) if crossed is not None else None,
        crossed=crossed.column if crossed is not None else (),
        crossed_by=crossed.operation.name.strip("_") if crossed is not None else "",
        crossed_side=crossed.side if crossed is not None else 0,
        summed_where=at(summed.operation.place) if summed is not None else None,
        summed_share=1 - sum(c.value for c in calls) / first.value if summed is not None and first.value else 0.0,
        divergence_where=at(drowned.divergence.place) if drowned is not None else None,
        divergence_beside=at(drowned.reconstruction.place) if drowned is not None else None,
        divergence_excess=drowned.excess if drowned is not None else 0.0,
        divergence_factor=drowned.factor if drowned is not None else 0.0,
        calls=calls,
        turns=tuple(c for b in recording.turn_tapes if b.tape is not None for c in _calls(recording, b.tape)),
        where=at(first.place),
        formula_where=at(tape.operations[tape.producers[tape.loss]].place) if tape is not None and tape.loss in tape.producers else None,
        first=first.value,
        values=tuple(b.value for b in recording.backwards[:200]),
        at_init=at_init,
        not_at_init_because=why,
        requires_grad_forced=first.loss_forced,
        model_outputs=outputs[0].outputs if outputs else 0,
        optimizers=recording.turns,
    )


def _first_step(recording: Recording) -> list[Backward]:
    return recording.first_tapes[:4]


def _at_init(recording: Recording) -> tuple[bool, str]:
    for model in recording.models():
        for module in model.modules():
            if id(module) in recording.loaded and parameters_of(module, recurse=False):
                return False, f"weights came from {recording.loaded[id(module)]}"
        name = getattr(model, "name_or_path", "")
        if isinstance(name, str) and name:
            return False, "weights came from a pretrained checkpoint"
    if recording.backwards and recording.first_tapes and recording.first_tapes[0].index > 0:
        return False, "earlier steps were not recorded"
    return True, ""


def _calls(recording: Recording, tape: Tape) -> list[LossCall]:
    found = []
    for position, (args, kwargs) in tape.observed.items():
        op = tape.operations[position]
        try:
            found.append(_call(recording, tape, op, args, kwargs))
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            continue
    return found


def _bound(op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name. ``input`` and ``target`` come first in every loss function of torch, the rest as keywords in practice."""
    names = {"cross_entropy": ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing"),
             "nll_loss": ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction"),
             "binary_cross_entropy_with_logits": ("input", "target", "weight", "size_average", "reduce", "reduction", "pos_weight"),
             "binary_cross_entropy": ("input", "target", "weight", "size_average", "reduce", "reduction"),
             "cosine_embedding_loss": ("input", "input2", "target", "margin", "size_average", "reduce", "reduction"),
             "margin_ranking_loss": ("input", "input2", "target", "margin", "size_average", "reduce", "reduction"),
             "ctc_loss": ("input", "target", "input_lengths", "target_lengths", "blank", "reduction", "zero_infinity")}  # fmt: skip
    order = names.get(op.name, ("input", "target", "size_average", "reduce", "reduction"))
    other = {"input1": "input", "log_probs": "input", "targets": "target"}
    return {**dict(zip(order, args, strict=False)), **{other.get(name, name): value for name, value in kwargs.items()}}


def _call(recording: Recording, tape: Tape, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LossCall:
    at = recording.frames.location
    built = recording.places.get(id(op.module)) if op.module is not None and not op.module._modules else None
    bound = _bound(op, args, kwargs)
    given, target = bound["input"].detach(), bound["target"].detach()
    classes, axis = _classes(op.name, given, target)
    reduction = str(bound.get("reduction", "mean"))
    ignore = int(bound.get("ignore_index", -100)) if op.name in ("cross_entropy", "nll_loss") else None
    activation, act_op = activation_of(tape, op)
    torn, cut = torn_scores(tape, op, axis) if classes and axis is not None else (0.0, None)
    maker = maker_of(tape, op)
    weight = output_weight(recording, tape, maker) if maker else None
    tables = multiplied_tables(tape, op)
    scale, table_place = first_scale(recording, tables[0]) if tables else (None, None)
    with torch.no_grad():
        value = float(op.call(*args, **kwargs).double().mean())
        chance, how = _chance(op, bound, given, target, classes, args, kwargs)
        wide = given.double()
        sums = wide.exp().sum(axis) if axis is not None and classes else None
        index_target = not target.is_floating_point() and not target.dtype.is_complex
        scored = int((target != ignore).sum()) if ignore is not None and index_target else given.numel()
        values = _value_counts(target)
        broadcast = op.name in (*_REGRESSION, *_BINARY_LOSSES) and given.shape != target.shape
        spread = torch.broadcast_shapes(given.shape, target.shape) if broadcast else given.shape
        finite = wide[torch.isfinite(wide)]
        counted = target.double()[target != ignore] if ignore is not None and index_target else target.double()
        counted = counted[torch.isfinite(counted)]
        return LossCall(
            kind=op.name,
            where=at(op.place),
            built_where=at(built),
            weighed_where=at(weighed_at(built or op.place)),
            value=value,
            reduction=reduction,
            label_smoothing=float(bound.get("label_smoothing", 0.0) or 0.0),
            ignore_index=ignore,
            blank=int(bound.get("blank", 0)) if op.name == "ctc_loss" else None,
            too_short=_too_short(bound) if op.name == "ctc_loss" else 0.0,
            weighted=bound.get("weight") is not None or bound.get("pos_weight") is not None,
            class_weights=_class_weights(op.name, bound.get("weight")),
            pos_weight=float(bound["pos_weight"].double().median()) if isinstance(bound.get("pos_weight"), Tensor) else None,
            input_shape=tuple(given.shape),
            target_shape=tuple(target.shape),
            target_dtype=str(target.dtype).removeprefix("torch."),
            classes=classes,
            elements=scored,
            batch_size=given.shape[0] if given.dim() else 1,
            broadcast=broadcast,
            broadcast_elements=math.prod(spread) if broadcast else 0,
            torn=torn,
            torn_where=at(cut.place) if cut is not None else None,
            torn_from=tape.shapes.get(cut.inputs[0], ()) if cut is not None else (),
            input_activation=activation,
            input_activation_where=at(act_op.place) if act_op else None,
            input_activation_axis=softmax_axis(tape, act_op) if act_op else None,
            input_operation=maker.name if maker else "",
            input_operation_where=at(maker.place) if maker else None,
            output_weight_scale=weight[0] if weight else None,
            output_weight_where=at(weight[1]) if weight else None,
            tables_scale=scale,
            tables_where=at(table_place),
            tables_width=tables[0].shape[1] if tables else 0,
            input_min=float(finite.min()) if finite.numel() else math.nan,
            input_max=float(finite.max()) if finite.numel() else math.nan,
            input_mean=float(finite.mean()) if finite.numel() else math.nan,
            input_std=float(finite.std()) if finite.numel() > 1 else 0.0,
            input_rows_sum_to_one=bool(axis is not None and classes and (wide >= 0).all() and _ones(wide.sum(axis))),
            input_log_probabilities=bool(sums is not None and _ones(sums)),
            target_min=float(counted.min()) if counted.numel() else None,
            target_max=float(counted.max()) if counted.numel() else None,
            target_mean=float(counted.mean()) if counted.numel() else None,
            target_std=float(counted.std()) if counted.numel() > 1 else None,
            target_values=values,
            target_is_probabilities=op.name == "cross_entropy" and target.is_floating_point(),
            chance=chance,
            chance_how=how,
            label_entropy=_label_entropy(op.name, target, ignore),
        )


def _too_short(bound: dict[str, Any]) -> float:
    """Share of a CTC loss's sequences with fewer time steps than labels."""
    steps, labels = (torch.as_tensor(bound[name]).flatten().cpu() for name in ("input_lengths", "target_lengths"))
    return float((steps < labels).double().mean()) if steps.numel() else 0.0


def _ones(sums: Tensor) -> bool:
    return bool(torch.allclose(sums, torch.ones_like(sums), atol=2e-3))


def _classes(name: str, given: Tensor, target: Tensor) -> tuple[int | None, int | None]:
    if name in _CLASS_LOSSES:
        axis = 1 if given.dim() > 1 else 0
        return int(given.shape[axis]), axis
    if name == "kl_div" and given.dim() > 1:
        return int(given.shape[-1]), given.dim() - 1
    return None, None


def _class_weights(name: str, weight: Any) -> tuple[float, ...]:
    if name not in ("cross_entropy", "nll_loss") or not isinstance(weight, Tensor) or weight.numel() > 1000:
        return ()
    return tuple(float(w) for w in weight.detach().flatten().tolist())


def _value_counts(target: Tensor) -> dict[str, int] | None:
    values, counts = torch.unique(target, return_counts=True)
    if len(values) > 1000:
        return None
    return {f"{v:g}" if target.is_floating_point() else str(int(v)): int(c) for v, c in zip(values.tolist(), counts.tolist(), strict=True)}


def _chance(
    op: Operation, bound: dict[str, Any], given: Tensor, target: Tensor, classes: int | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float | None, str]:
    """The same call with a prediction that knows nothing."""
    if op.name == "cross_entropy" and classes:
        blind, how = torch.zeros_like(given), f"ln {classes}"
    elif op.name == "nll_loss" and classes:
        blind, how = torch.full_like(given, -math.log(classes)), f"ln {classes}"
    elif op.name == "binary_cross_entropy_with_logits":
        blind, how = torch.zeros_like(given), "ln 2"
    elif op.name == "binary_cross_entropy":
        blind, how = torch.full_like(given, 0.5), "ln 2"
    elif op.name in _REGRESSION and target.is_floating_point():
        blind, how = torch.full_like(given, float(target.double().mean())), "always predicting the target's mean"
    else:
        return None, ""
    called = {**bound, "input": blind}
    if op.name == "cross_entropy" and called.get("weight") is not None:
        how += ", class-weighted"
    if str(bound.get("reduction", "mean")) == "sum":
        how += ", summed"
    blind_args = (blind, *args[1:]) if args else ()
    blind_kwargs = kwargs if args else {**kwargs, "input": blind}
    return float(op.call(*blind_args, **blind_kwargs).double().mean()), how


def _label_entropy(name: str, target: Tensor, ignore: int | None) -> float | None:
    if name in _CLASS_LOSSES and not target.is_floating_point():
        counts = torch.unique(target[target != ignore] if ignore is not None else target, return_counts=True)[1].double()
        shares = counts / counts.sum()
        return float(-(shares * shares.log()).sum()) if counts.numel() else None
    if name in _BINARY_LOSSES:
        share = float(target.double().mean().clamp(1e-6, 1 - 1e-6))
        return -(share * math.log(share) + (1 - share) * math.log(1 - share))
    return None


def main_loss_call(tape: Tape) -> tuple[int, Operation, dict[str, Any]] | None:
    """The one loss call of a tape with its arguments by name; None when there is none or there are several."""
    if len(tape.observed) != 1:
        return None
    position, (args, kwargs) = next(iter(tape.observed.items()))
    op = tape.operations[position]
    return position, op, _bound(op, args, kwargs)


def is_mean_reduced(tape: Tape, *, later: bool = False) -> bool:
    """Whether the tape's one loss call averages over its elements; with ``later`` also when it leaves that to what follows."""
    found = main_loss_call(tape)
    reductions = ("mean", "none") if later else ("mean",)
    return found is not None and str(found[2].get("reduction", "mean")) in reductions and bound_call_ok(found[1])


def bound_call_ok(op: Operation) -> bool:
    """Whether the call is a plain torch.nn.functional loss."""
    return getattr(F, op.name, None) is not None


def where(recording: Recording, op: Operation | None) -> Location | None:
    """The user's line of an operation."""
    return recording.frames.location(op.place) if op else None
