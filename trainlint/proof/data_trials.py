"""Trials of fixes to what is fed and to the first weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainlint.finding import Proof
from trainlint.measurements import Loss, NonFinite
from trainlint.probes.step.loss import main_loss_call
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.step.tables import multiplied_tables
from trainlint.proof.changes import loss_call
from trainlint.proof.runs import Bench, Condition, Fill, compared, not_tried
from trainlint.record.operation import Operation, Ref
from trainlint.record.tape import Tape

__all__ = ["init_loss", "init_weights", "input_finite", "input_scale", "non_finite"]

#: Standard deviation of the first logits that leaves a classifier undecided.
_UNDECIDED = 0.3
#: Smallest value that a root, a logarithm or a divisor gets in place of zero.
_EPSILON = 1e-6


def input_scale(bench: Bench) -> Proof:
    """With inputs of mean 0 and standard deviation 1."""
    fix = bench.finding.fix
    if fix is not None and fix.edit is not None and fix.edit.kind == "transform-only":
        return not_tried("its fix changes validation inputs alone, which a training step does not read")
    with bench.rehearsal() as trial:
        slots = _inputs(trial)
        if not slots or "target" in bench.finding.message.split(":")[0].lower():
            return not_tried("a target on another scale has a loss on another scale, so the two cannot be compared in a few steps")
        statistics = {s: _column_statistics([f.get(s, trial.tape.outside[s]) for f in trial.fills]) for s in slots}

        def standardised(fill: Fill) -> Fill:
            fed = {s: fill.get(s, trial.tape.outside[s]) for s in slots}
            return {**fill, **{s: ((t - statistics[s][0]) / statistics[s][1]).to(t.dtype) for s, t in fed.items()}}

        return compared(bench, trial, before=Condition(), after=Condition(feed=standardised), words="With standardised inputs")


def input_finite(bench: Bench) -> Proof:
    """With missing values filled by the mean of their column."""
    with bench.rehearsal(broken=True) as trial:
        slots = _inputs(trial)
        tainted = [s for s in slots if any(not bool(f.get(s, trial.tape.outside[s]).isfinite().all()) for f in trial.fills)]
        if not tainted:
            return not_tried("no recorded batch that can be replayed holds such a value")
        means = {s: _column_statistics([f.get(s, trial.tape.outside[s]) for f in trial.fills])[0] for s in tainted}

        def filled(fill: Fill) -> Fill:
            fed = {s: fill.get(s, trial.tape.outside[s]) for s in tainted}
            return {**fill, **{s: torch.where(t.isfinite(), t, means[s].to(t.dtype).expand_as(t)) for s, t in fed.items()}}

        return compared(
            bench, trial, before=Condition(), after=Condition(feed=filled), words="With missing values filled by the mean of their column"
        )


def _inputs(trial: Rehearsal) -> list[int]:
    """Slots of floating batch tensors that are not the target."""
    tape = trial.tape
    call = main_loss_call(tape)
    aim = call[1].argument(1, "target") if call is not None else None
    targets = {aim.slot, *(s for p in tape.upstream(aim.slot) for s in tape.operations[p].inputs)} if isinstance(aim, Ref) else set()
    return [s for s in tape.batch.values() if tape.outside[s].is_floating_point() and tape.outside[s].dim() > 1 and s not in targets]


def _column_statistics(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by channel of pictures, by the last axis of all else; what is not finite is left out."""
    values = torch.cat([b.detach() for b in batches]).double()
    axis = 1 if values.dim() == 4 else values.dim() - 1
    others = [a for a in range(values.dim()) if a != axis]
    known = values.isfinite()
    count = known.sum(others, keepdim=True).clamp_min(1)
    zeroed = values.nan_to_num(0.0, 0.0, 0.0)
    mean = zeroed.sum(others, keepdim=True) / count
    spread = ((zeroed - mean).square() * known).sum(others, keepdim=True).div(count).sqrt()
    return mean[0], torch.where(spread > 1e-8, spread, torch.ones_like(spread))[0]


def non_finite(bench: Bench) -> Proof:
    """With the operation that broke kept away from the place where it has no value or no gradient."""
    seen = bench.measure(NonFinite)
    name = seen.operation if isinstance(seen, NonFinite) else ""
    guard = _GUARDS.get(name.strip("_"))
    if guard is None:
        return not_tried(f"what would keep {name or 'it'} finite is not known")

    def change(op: Operation) -> Operation:
        return replace(op, call=_guarded(op.call, guard), mutates=None) if op.name == name or op.name.strip("_") == name.strip("_") else op

    with bench.rehearsal(broken=True) as trial:
        words = f"With {name} kept away from where it breaks"
        return compared(bench, trial, before=Condition(), after=Condition(change=change, judged=change), words=words)


def _guarded(call: Callable[..., Any], guard: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: guard(call, *args, **kwargs)


def _from_below(call: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return call(x.clamp_min(_EPSILON), *args, **kwargs)


def _divisor(call: Callable[..., Any], x: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
    safe = torch.where(other.abs() < _EPSILON, torch.full_like(other, _EPSILON), other) if isinstance(other, Tensor) else other
    return call(x, safe, *args, **kwargs)


def _norm(call: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A norm whose gradient at zero is zero: a constant too small to matter is added below the root."""
    return call(torch.where(x == 0, torch.full_like(x, _EPSILON), x), *args, **kwargs)


def _bounded(call: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return call(x.clamp_max(30.0), *args, **kwargs)


_GUARDS: dict[str, Callable[..., Any]] = {
    "sqrt": _from_below, "rsqrt": _from_below, "log": _from_below, "log2": _from_below, "log10": _from_below, "reciprocal": _from_below,
    "div": _divisor, "truediv": _divisor, "true_divide": _divisor, "norm": _norm, "vector_norm": _norm, "cdist": _norm, "exp": _bounded,
    "pow": _from_below,
}  # fmt: skip


def init_loss(bench: Bench) -> Proof:
    """With an output layer that starts small, or at the target's mean."""
    loss = bench.measure(Loss)
    call = loss.calls[0] if isinstance(loss, Loss) and loss.calls else None
    with bench.rehearsal() as trial:
        op, bound = loss_call(trial.tape)
        tables = multiplied_tables(trial.tape, op) if call is not None and call.input_std > 1 else []
        weights = tables or _output_parameters(trial.tape, op)
        if call is None or not weights:
            return not_tried("no layer was found that makes the loss's input")
        if tables:
            mean, words = 0.0, "With embeddings that start small"
        elif call.kind in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
            mean, words = float(bound["target"].mean()), "With the output layer's bias at the target's mean"
        else:
            mean, words = 0.0, "With an output layer that starts small"
        factor = min(1.0, _UNDECIDED / call.input_std) if call.input_std else 1.0
        factor = factor**0.5 if tables else factor  # each row meets another

        def prepare(_: Rehearsal) -> None:
            with torch.no_grad():
                for p in weights:
                    if p.dim() > 1:
                        p.mul_(factor)
                    else:
                        p.fill_(mean)

        return compared(bench, trial, before=Condition(), after=Condition(prepare=prepare), words=words)


def _output_parameters(tape: Tape, loss: Operation) -> list[nn.Parameter]:
    """Weights and biases of the matrix product nearest to the loss."""
    given = loss.argument(0, "input")
    for position in tape.upstream(given.slot) if isinstance(given, Ref) else ():
        op = tape.operations[position]
        slots = [
            *op.inputs,
            *(s for i in op.inputs if i in tape.producers for s in tape.operations[tape.producers[i]].inputs if _turned(tape, i)),
        ]
        found = [t for s in slots if isinstance(t := tape.outside.get(s), nn.Parameter)]
        if any(p.dim() > 1 for p in found):
            return found
    return []


def _turned(tape: Tape, slot: int) -> bool:
    return tape.operations[tape.producers[slot]].name in ("t", "T", "transpose", "mT")


def init_weights(bench: Bench) -> Proof:
    """With He's initialisation of all weight matrices and biases at zero."""

    def prepare(trial: Rehearsal) -> None:
        generator = torch.Generator().manual_seed(0)
        norms = {id(p) for m in _modules(bench) if "Norm" in type(m).__name__ for p in m.parameters(recurse=False)}
        with torch.no_grad():
            for leaf in trial.leaves:
                if leaf.dim() > 1:
                    deviation = math.sqrt(2.0 / max(leaf[0].numel(), 1))
                    leaf.copy_((torch.randn(leaf.shape, generator=generator) * deviation).to(leaf))
                elif id(leaf) not in norms:
                    leaf.zero_()

    with bench.rehearsal() as trial:
        if any(isinstance(m, (nn.Embedding, nn.RNNBase)) for m in _modules(bench)):
            return not_tried("layers of this kind have initialisations of their own")
        return compared(
            bench, trial, before=Condition(), after=Condition(prepare=prepare), words="With He's initialisation and biases at zero"
        )


def _modules(bench: Bench) -> list[nn.Module]:
    return [m for model in bench.recording.models() for m in model.modules()]
