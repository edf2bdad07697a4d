"""Turns the monitor's books into measurements that rules judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainlint.measurements import Activations, Loop, Measurement, NonFinite, ParameterInfo, Parameters, RankFacts, WatchedRun
from trainlint.record.parameters import named_parameters_of
from trainlint.watching.monitor import Monitor

__all__ = ["measurements", "rank_facts"]


def measurements(monitor: Monitor) -> Iterator[Measurement]:
    """What a watched run shows so far; nothing before its first step but a broken one."""
    yield _run(monitor)
    yield replace(monitor.broken, steps=monitor.steps) if monitor.broken is not None else NonFinite(steps=monitor.steps)
    if not monitor.steps:
        return
    yield _loop(monitor)
    yield _parameters(monitor)
    names = {id(m): name for model in monitor.models() for name, m in model.named_modules()}
    layers = monitor.silence.activations(names)
    if layers:
        yield Activations(layers=tuple(layers))


def _run(monitor: Monitor) -> WatchedRun:
    device = monitor.device
    return WatchedRun(
        steps=monitor.steps,
        epochs=monitor.epochs,
        seconds=monitor.seconds,
        step_seconds=monitor.step_seconds,
        data_share=monitor.waited / monitor.stepping if monitor.stepping else None,
        memory=tuple(monitor.memory),
        memory_of="cuda" if device is not None and device.type == "cuda" else "process",
        passes=bool(monitor.epochs),
        loop=monitor.frames.location(monitor.loop),
    )


def _loop(monitor: Monitor) -> Loop:
    """The part of the loop's account that a light watch can give: modes of sampled steps, and of each validation pass."""
    where = monitor.frames.location
    evaluating, off = monitor.eval_call, monitor.off_call
    seen = evaluating or off
    return Loop(
        epochs_begun=monitor.epochs,
        has_validation=bool(monitor.validation),
        optimizers=len(monitor.stepped),
        stepped_optimizers=len(monitor.stepped),
        validation=tuple(monitor.validation),
        train_forwards=monitor.train_looks,
        eval_mode_forwards=monitor.eval_looks,
        eval_mode_where=where(evaluating.place) if evaluating else where(off.place) if off else None,
        eval_set_where=where(monitor.eval_set),
        eval_mode_epoch=monitor.eval_epoch,
        eval_mode_modules=tuple(dict.fromkeys(type(m).__name__ for m in seen.off)) if seen else (),
        mode_dependent=tuple(monitor.mode_dependent),
        frozen_eval=seen.off_are_frozen if seen else False,
    )


def _parameters(monitor: Monitor) -> Parameters:
    """Names and sizes only. Whether weights were loaded is not known, so rules are told the milder case."""
    models = list(monitor.models())
    found = {id(p): (name, p) for model in models for name, p in named_parameters_of(model)}
    return Parameters(
        parameters=tuple(
            ParameterInfo(
                name=name, module=name.rpartition(".")[0], module_kind="", shape=tuple(p.shape), size=p.numel(), requires_grad=p.requires_grad,
                gradient="none",
            )
            for name, p in found.values()
        ),
        model=", ".join(type(m).__name__ for m in models),
        pretrained=True,
        steps=monitor.steps,
    )  # fmt: skip


def rank_facts(monitor: Monitor, status: str) -> RankFacts:
    """What this process tells the first one."""
    where = monitor.frames.location
    return RankFacts(
        rank=monitor.rank.rank,
        steps=monitor.steps,
        joined=monitor.joined,
        shapes=monitor.shapes,
        sharded=monitor.sharded,
        fingerprints=tuple(monitor.fingerprints),
        inputs=tuple(monitor.inputs),
        batches=tuple(monitor.batches[-32:]),
        running=monitor.running or (monitor.current.batches if monitor.current is not None and monitor.current.backwards else 0),
        shuffles=monitor.shuffles,
        sampler_epochs=tuple(monitor.sampler_epochs),
        status=status,
        loop=where(monitor.loop),
        optimizer=where(monitor.optimizer_place),
        loader=where(monitor.loader_place),
    )
