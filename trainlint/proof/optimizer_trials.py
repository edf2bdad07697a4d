"""Trials of fixes to the optimizer and to what it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainlint.finding import Proof
from trainlint.measurements import ShortRuns
from trainlint.probes.step.optimizer_copies import configured_lr
from trainlint.probes.step.replay import Rehearsal
from trainlint.probes.training.regularisers import unregularised
from trainlint.proof.changes import connected
from trainlint.proof.runs import Bench, Condition, compared, not_tried

__all__ = [
    "coupled_weight_decay",
    "finetune_lr",
    "frozen_params",
    "lr_groups",
    "lr_range",
    "no_gradient",
    "over_regularized",
    "params_not_optimized",
    "warmup_missing",
]

#: Share of a run over which a learning rate that is tried rises to its value.
_RISE = 0.1
#: A rate that is gentle to learned weights, as a share of the configured one (see short_runs.py).
_GENTLE = 1 / 20


def lr_range(bench: Bench) -> Proof:
    """At the suggested learning rate."""
    suggested = bench.finding.evidence.get("suggestion")
    if not isinstance(suggested, (int, float)) or not suggested > 0:
        return not_tried("no learning rate that trains was found")
    return _at_rate(bench, float(suggested), rise=True)


def finetune_lr(bench: Bench) -> Proof:
    """At a rate that leaves the loaded weights what they know."""
    runs = bench.measure(ShortRuns)
    gentle = runs.run("gentle") if isinstance(runs, ShortRuns) else None
    return _at_rate(bench, gentle.lr if gentle else max(configured_lr(bench.recording)) * _GENTLE, rise=False)


def lr_groups(bench: Bench) -> Proof:
    """The same."""
    if "empty group" in bench.finding.evidence:
        return not_tried("a replay steps the groups as they are")
    return finetune_lr(bench)


def _at_rate(bench: Bench, rate: float, *, rise: bool) -> Proof:
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(
                optimizer=lambda t, _: t.own_optimizer(rate), rate=(lambda p: min(1.0, (p + 0.02) / _RISE)) if rise else lambda _: 1.0
            ),
            words=f"With a learning rate of {rate:.2g}",
        )


def warmup_missing(bench: Bench) -> Proof:
    """With a learning rate that rises over the first half of the run."""
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(rate=lambda p: min(1.0, 2 * p + 0.05)),
            words="With a warm-up over half of the run",
        )


def over_regularized(bench: Bench) -> Proof:
    """Without dropout, stochastic depth, smoothing and weight decay."""
    with bench.rehearsal() as trial:
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(change=unregularised, optimizer=lambda t, lr: _undecayed(t.own_optimizer(lr))),
            words="With regularisation off",
            measure="loss without regularisation",
        )


def _undecayed(optimizer: Optimizer) -> Optimizer:
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    return optimizer


def coupled_weight_decay(bench: Bench) -> Proof:
    """With AdamW, same decay."""
    with bench.rehearsal() as trial:
        return compared(
            bench, trial, before=Condition(), after=Condition(optimizer=lambda t, lr: _decoupled(t.own_optimizer(lr))), words="With AdamW"
        )


def _decoupled(own: Optimizer) -> Optimizer:
    kept = ("params", "lr", "betas", "eps", "weight_decay", "amsgrad")
    return torch.optim.AdamW([{k: g[k] for k in kept if k in g} for g in own.param_groups])


def params_not_optimized(bench: Bench) -> Proof:
    """With the parameters that were left out in the optimizer."""
    if "frozen now" in bench.finding.evidence:
        return not_tried("the recorded steps come before the layers are unfrozen")
    return _with_more(bench, lambda t: t.requires_grad, "With all trained parameters in the optimizer")


def frozen_params(bench: Bench) -> Proof:
    """With the frozen parameters unfrozen."""
    if "targets of" in bench.finding.evidence:
        return not_tried("a teacher that stands still is harder to follow than one that gives way, so the two losses cannot be compared")
    return _with_more(bench, lambda t: True, "With the frozen parameters unfrozen")


def _with_more(bench: Bench, wanted: Callable[[Tensor], bool], words: str) -> Proof:
    with bench.rehearsal() as trial:
        held = {id(t) for t in trial.leaves}
        more = [t for t in trial.tape.outside.values() if isinstance(t, nn.Parameter) and id(t) not in held and wanted(t)]
        if not more:
            return not_tried("the parameters in question take no part in the recorded step")
        after = Condition(mode=lambda t: _thawed(t, more), optimizer=lambda t, lr: _extended(t, lr, more))
        return compared(bench, trial, before=Condition(), after=after, words=words)


@contextmanager
def _thawed(trial: Rehearsal, more: list[nn.Parameter]) -> Iterator[None]:
    """Train these parameters too, for as long as the run takes."""
    flags = [(p, p.requires_grad, p.grad) for p in more]
    leaves = trial.leaves
    trial.leaves = [*leaves, *more]
    try:
        for p in more:
            p.requires_grad_(True)
        yield
    finally:
        trial.leaves = leaves
        for p, flag, gradient in flags:
            p.requires_grad_(flag)
            p.grad = gradient


def _extended(trial: Rehearsal, lr: float, more: list[nn.Parameter]) -> Optimizer:
    optimizer = trial.own_optimizer(lr)
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    missing: list[Tensor] = [p for p in more if id(p) not in held]
    if missing:
        optimizer.param_groups.append({**{k: v for k, v in optimizer.param_groups[0].items() if k != "params"}, "params": missing})
    return optimizer


def no_gradient(bench: Bench) -> Proof:
    """With the graph kept whole where it was cut."""
    if "steps" in bench.finding.evidence:
        return not_tried("what is to be kept over many time steps is not learned in a few steps of training")
    with bench.rehearsal(change=connected) as trial:
        reached = _reached(trial, mended=False), _reached(trial, mended=True)
        if reached[1] <= reached[0]:
            return not_tried("the cut is an operation that has no gradient, so another one has to take its place")
        return compared(
            bench,
            trial,
            before=Condition(),
            after=Condition(change=connected),
            words=f"With the graph kept whole {reached[1]} instead of {reached[0]} parameters get a gradient",
            mended=True,
        )


def _reached(trial: Rehearsal, *, mended: bool) -> int:
    trial.rewind()
    loss = trial.loss(change=connected if mended else None)
    if not loss.requires_grad or not math.isfinite(float(loss.detach())):
        return 0
    return sum(g is not None for g in trial.gradients(loss))
