"""Parameters: who holds them, what gradient reaches them, how far each real step moves them, and where the graph was cut."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainlint.measurements import GraphCut, ParameterInfo, Parameters, RebuiltLayer, UnregisteredModule
from trainlint.probes.data.value_source import forced_gradient
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.run.broken_recurrence import broken_recurrence
from trainlint.probes.run.cuts import graph_cuts
from trainlint.probes.run.moving_targets import moving_targets, still_targets
from trainlint.probes.run.sampled import sampled_without_gradient
from trainlint.probes.run.shared_rows import shared_rows
from trainlint.probes.source.unfreezing import unfrozen_later
from trainlint.record.frames import Place
from trainlint.record.operation import Ref
from trainlint.record.parameters import named_parameters_of, parameters_of
from trainlint.record.recording import Recording
from trainlint.record.seen import Backward, StepSeen
from trainlint.settings import Settings

__all__ = ["are_copies", "measure_parameters"]

#: Gates of a recurrent layer, or projections in one matrix; share of its movement by which rounding makes copies differ.
_MOST_GATES, _COPIES = 4, 1e-3


def measure_parameters(recording: Recording, deadline: float, settings: Settings) -> Parameters:
    """Bring together models, optimizers, gradients and updates."""
    models = recording.models()
    if not models and not recording.optimizers:
        msg = "no model with parameters was called"
        raise CannotMeasureError(msg)
    at = recording.frames.location
    owners = _owners(recording)
    named = list(recording.named_parameters())
    order = _order_of_use(recording)
    reached = {i for b in recording.backwards for i in b.reached} | {i for b in recording.backwards for i in b.norms}
    with_gradient = [b for b in recording.backwards if b.norms]
    steps = [s for s in recording.steps if s.update_norms]
    infos = [_info(recording, n, mn, m, p, owners, reached, with_gradient, steps, order) for n, mn, m, p in named]
    infos_by_use = sorted(range(len(infos)), key=lambda i: order.get(id(named[i][3]), len(order) + i))
    known = {id(p) for *_, p in named}
    taped = {id(t) for b in recording.backwards if b.tape for t in b.tape.leaves.values()}
    foreign = [p for o in recording.training for p in o.parameters if id(p) not in known and id(p) not in taped and id(p) not in reached]
    names = {id(p): n for n, _, _, p in named}
    first = recording.backwards[0] if recording.backwards else None
    held = known | {id(p) for o in recording.optimizers for p in o.parameters}
    nowhere = not any(held & set(b.reached) or any(b.norms.values()) for b in recording.backwards)
    learns = first is None or (first.loss_has_graph and not first.loss_forced and not nowhere)
    teachers = still_targets(recording)
    waiting = _waiting(named, {i.name for i in infos if i.used}, owners)
    void = next(((m, recording.void_loads[id(m)]) for model in models for m in model.modules() if id(m) in recording.void_loads), None)
    return Parameters(
        void_load_where=at(void[1][0]) if void is not None else None,
        void_load_names=(void[1][1], next((n for n, _ in named_parameters_of(void[0])), "")) if void is not None else ("", ""),
        parameters=tuple(infos[i] for i in infos_by_use),
        model=", ".join(dict.fromkeys(type(m).__name__ for m in models)),
        model_where=at(recording.places.get(id(models[0]))) if models else None,
        optimizer_where=tuple(at(o.place) for o in recording.optimizers),
        foreign=len(foreign),
        loose=sum(1 for o in recording.training for p in o.parameters if id(p) not in known and id(p) in reached),
        foreign_names=tuple(f"{type(p).__name__}{tuple(p.shape)}" for p in foreign[:8]),
        unregistered=tuple(u for m in models for u in _unregistered(recording, m, reached - known)),
        rebuilt=tuple(
            RebuiltLayer(kind=r.kind, owner=r.owner, weights=r.weights, where=at(r.place))
            for r in recording.rebuilt.values()
            if len(r.turns) > 1
        ),
        cuts=tuple(graph_cuts(recording, names, reached)),
        constant=_constant(recording, {i.name for i in infos if i.gradient == "zero"}, names),
        sampled=sampled_without_gradient(recording, names) if learns else None,
        recurrence=broken_recurrence(recording) if learns else None,
        forced_where=at(_forced(first.place)) if first is not None and not learns else None,
        loss_has_graph=learns,
        grad_globally_off=at(recording.grad_off),
        no_grad_calls=tuple(
            dict.fromkeys(
                loc
                for c in recording.calls
                if not c.grad and c.iteration is not None and c.iteration.phase == "train"
                if (loc := at(c.place))
            )
        ),
        frozen_where=at(recording.frozen_at),
        cast_where=at(recording.cast_at),
        unfrozen_where=at(unfrozen_later(recording.frames, waiting)) if waiting and recording.training and not recording.own_loop else None,
        waiting=tuple(n for (n, *_, p) in named if id(p) in waiting),
        batchnorm_moving_while_frozen=_moving_statistics(models),
        total_norms=tuple(b.norm for b in recording.backwards if b.norm is not None),
        moving_targets=moving_targets(recording),
        teachers=tuple(n for n, *_, p in named if id(p) in teachers),
        shared_rows=shared_rows(recording),
        pretrained=any(id(m) in recording.loaded for model in models for m in model.modules()),
        steps=len(recording.steps),
    )


def _waiting(named: list[tuple[str, str, nn.Module, nn.Parameter]], used: set[str], owners: dict[int, tuple[int, int]]) -> set[int]:
    """Ids of frozen parameters that are used and in no optimizer; none where an optimizer holds frozen ones, which wait there for their turn."""
    frozen = [(name, id(p)) for name, *_, p in named if not p.requires_grad]
    return set() if any(i in owners for _, i in frozen) else {i for name, i in frozen if name in used}


def _constant(recording: Recording, silent: set[str], names: dict[int, str]) -> GraphCut | None:
    """The first softmax over one entry with parameters behind it whose gradients are zero."""
    tapes = [b.tape for b in recording.backwards if b.tape is not None]
    for op in tapes[0].operations if tapes and silent else ():
        given = op.argument(0, "input")
        axis = op.argument(1, "dim")
        shape = tapes[0].shapes.get(given.slot, ()) if isinstance(given, Ref) else ()
        if (
            op.name not in ("softmax", "log_softmax", "softmin")
            or not isinstance(axis, int)
            or not -len(shape) <= axis < len(shape)
            or shape[axis] != 1
        ):
            continue
        behind = {s for p in tapes[0].upstream(given.slot) for s in tapes[0].operations[p].inputs} & tapes[0].parameters.keys()
        lost = sorted(silent & {names.get(id(tapes[0].parameters[s]), "") for s in behind})
        if lost:
            return GraphCut(kind=op.name, where=recording.frames.location(op.place), parameters=tuple(lost))
    return None


def _forced(place: Place | None) -> Place | None:
    """The line that sets ``requires_grad`` on what the ``backward()`` at a place is called on."""
    line = forced_gradient(place[0], place[1]) if place is not None else None
    return (place[0], line, "") if place is not None and line is not None else None


def _owners(recording: Recording) -> dict[int, tuple[int, int]]:
    """Id of a parameter -> (optimizer, group); optimizers that step come first."""
    found: dict[int, tuple[int, int]] = {}
    for seen in sorted(recording.optimizers, key=lambda o: not o.steps):
        for group, entry in enumerate(seen.optimizer.param_groups):
            for parameter in entry["params"]:
                found.setdefault(id(parameter), (seen.index, group))
    return found


def _order_of_use(recording: Recording) -> dict[int, int]:
    """Id of a parameter -> position of the first recorded operation that takes it."""
    order: dict[int, int] = {}
    for backward in recording.backwards:
        if backward.tape is not None:
            for position, op in enumerate(backward.tape.operations):
                for slot in op.inputs:
                    tensor = backward.tape.outside.get(slot)
                    if isinstance(tensor, nn.Parameter):
                        order.setdefault(id(tensor), position)
            if order:
                break
    return order


def _info(
    recording: Recording, name: str, module_name: str, module: nn.Module, parameter: nn.Parameter, owners: dict[int, tuple[int, int]],
    reached: set[int], backwards: list[Backward], steps: list[StepSeen], order: dict[int, int],
) -> ParameterInfo:  # fmt: skip
    key = id(parameter)
    norms = [b.norms[key] for b in backwards if key in b.norms]
    ratios = [s.update_norms[key] / s.weight_norms[key] for s in steps if s.weight_norms.get(key)]
    updates = [s.update_norms[key] for s in steps if key in s.update_norms]
    initial = recording.initial.get(key)
    if key not in reached and not norms:
        gradient = "none"
    elif any(n != n or n == float("inf") for n in norms):
        gradient = "nonfinite"
    elif norms and not any(norms):
        gradient = "zero"
    else:
        gradient = "finite"
    owner = owners.get(key)
    lr = None
    if owner is not None:
        seen = recording.optimizers[owner[0]]
        rates = [s.lr[owner[1]] for s in seen.steps if s.update_norms and owner[1] < len(s.lr)]
        lr = statistics.median(rates) if rates else None
    zero = initial is not None and not initial.is_sparse and not bool(initial.any())
    copies = initial is not None and bool(norms) and are_copies(initial, parameter)
    return ParameterInfo(
        name=name,
        module=module_name,
        module_kind=type(module).__name__,
        shape=tuple(parameter.shape),
        size=parameter.numel() if not torch.nn.parameter.is_lazy(parameter) else 0,
        requires_grad=parameter.requires_grad,
        optimizer=owner[0] if owner else None,
        used=key in order or key in reached or not order,
        gradient=gradient,
        gradient_norm=norms[0] if norms else 0.0,
        gradient_norms=tuple(norms),
        weight_norm=float(initial.float().norm())
        if initial is not None and not initial.is_sparse
        else next((s.weight_norms[key] for s in steps if key in s.weight_norms), 0.0),
        update_norm=updates[0] if updates else 0.0,
        update_ratio=statistics.median(ratios) if ratios else None,
        unmoved=statistics.median(lost) if (lost := [s.unmoved[key] for s in steps if key in s.unmoved]) else None,
        norm_or_bias=parameter.dim() < 2 or "Norm" in type(module).__name__,
        zero_init=zero,
        identical_units=copies,
        lr=lr,
        where=recording.frames.location(recording.places.get(id(module))) if copies or (zero and parameter.dim() > 1) else None,
    )


def are_copies(initial: Tensor, now: Tensor) -> bool:
    """Whether the rows of a matrix were equal and still are, though training moved them; rows of one gate or projection among up to four."""
    if now.dim() < 2 or len(now) < 2 or initial.shape != now.shape or any(t.is_sparse or not t.is_floating_point() for t in (initial, now)):
        return False
    before = initial.detach().flatten(1)
    if bool((before != before[0]).any()):
        return False
    after = now.detach().flatten(1)
    moved = float((after - before.to(after.device)).abs().max())
    if not 0 < moved < float("inf"):
        return False
    parts = [after.reshape(n, -1, after.shape[1]) for n in range(1, _MOST_GATES + 1) if len(after) % n == 0 and len(after) > n]
    return any(float((part - part[:, :1]).abs().max()) <= _COPIES * moved for part in parts)


def _unregistered(recording: Recording, model: nn.Module, learning: set[int]) -> Iterator[UnregisteredModule]:
    """Modules and parameters in plain lists, dicts and tuples, which parameters() does not see, and that get gradients.

    ``learning`` has the ids of what gets gradients and is no parameter of a model. Others in such places are a choice of networks of
    which one is taken, or a fixed teacher that is kept out of the checkpoints.
    """
    for module in model.modules():
        for attribute, value in vars(module).items():
            if isinstance(value, list | tuple | dict) and attribute not in ("_modules", "_parameters", "_buffers"):
                items = list(value.values()) if isinstance(value, dict) else list(value)
                held = [i for i in items if isinstance(i, nn.Module | nn.Parameter)]
                hidden: list[Tensor] = [
                    p for i in held for p in (parameters_of(i) if isinstance(i, nn.Module) else [i]) if id(p) in learning
                ]
                if hidden:
                    kinds = ", ".join(dict.fromkeys(type(i).__name__ for i in held))
                    yield UnregisteredModule(
                        owner=f"{type(module).__name__}.{attribute}",
                        kind=f"{type(value).__name__} of {kinds}",
                        parameters=sum(p.numel() for p in hidden),
                        named=isinstance(value, dict) and all(isinstance(key, str) and key and "." not in key for key in value),
                        where=recording.frames.location(recording.places.get(id(held[0])) or recording.places.get(id(module))),
                    )


def _moving_statistics(models: list[nn.Module]) -> int:
    """Batch-norm layers whose weights are frozen while their running statistics are updated."""
    return sum(
        1
        for model in models
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
        and m.track_running_stats
        and m.training
        and m.affine
        and not any(p.requires_grad for p in parameters_of(m))
    )
