"""Schedules that an engine of ignite calls."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trainlint.measurements import SchedulerInfo
from trainlint.probes.run.attached_schedules import attached_schedules
from trainlint.record.frames import Frames

engine = pytest.importorskip("ignite.engine")
ignite = pytest.importorskip("ignite.handlers.param_scheduler")
Events = engine.Events


def seen(build: Callable[[Any], Any], event: Any) -> tuple[list[SchedulerInfo], set[int]]:
    """What is found, within an epoch of 20, of a schedule that is attached to an event."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    recording = SimpleNamespace(
        frames=Frames(), optimizers=[], schedulers=[], steps=[], loaders_of=lambda phase: [], status="recorded", backwards=[]
    )
    found: list[Any] = []
    trainer = engine.Engine(lambda *_: found.append(attached_schedules(recording, 20)))
    trainer.add_event_handler(event, build(optimizer))
    trainer.run([0], max_epochs=1)
    assert attached_schedules(recording, 20) == ([], set())  # no engine runs
    return found[0]


def pieces(optimizer: Any) -> Any:
    return ignite.PiecewiseLinear(optimizer, "lr", [(0, 0.0), (10, 0.2), (20, 0.0)])  # the only one


@pytest.mark.parametrize(("event", "cadence"), [(Events.ITERATION_STARTED, "step"), (Events.EPOCH_STARTED, "epoch")])
def test_the_event_tells_how_often_a_schedule_is_called(event: Any, cadence: str) -> None:
    (info,), stepped = seen(pieces, event)
    assert (info.kind, info.horizon, info.cadence, info.attached) == ("PiecewiseLinear", 20, cadence, True)
    assert info.preview[::5] == pytest.approx((0.0, 0.1, 0.2, 0.1, 0.0))
    assert info.where is not None
    assert info.where.text.endswith("# the only one")
    assert not stepped


def test_cycles_are_drawn() -> None:
    (linear,), _ = seen(lambda o: ignite.LinearCyclicalScheduler(o, "lr", 0.1, 0.3, 4), Events.ITERATION_STARTED)
    assert linear.preview == pytest.approx((0.1, 0.2, 0.3, 0.2, 0.1))
    (cosine,), _ = seen(lambda o: ignite.CosineAnnealingScheduler(o, "lr", 0.1, 0.3, 4), Events.ITERATION_STARTED)
    assert cosine.preview[::2] == pytest.approx((0.1, 0.2, 0.3))


def test_what_torch_schedules_is_stepped_by_the_handler() -> None:
    made = []

    def warm(optimizer: Any) -> Any:
        made.append(lr_scheduler.CosineAnnealingLR(optimizer, 50))
        return ignite.create_lr_scheduler_with_warmup(made[0], 0.0, 40)

    (first, last), stepped = seen(warm, Events.EPOCH_STARTED)
    assert (first.kind, first.horizon, first.peak) == ("PiecewiseLinear", None, pytest.approx(0.1))
    assert first.reached == pytest.approx(0.1 * 20 / 39)
    assert (last.kind, last.horizon) == ("CosineAnnealingLR", 50)
    assert stepped == {id(made[0])}


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED(every=3), Events.ITERATION_STARTED | Events.EPOCH_STARTED])
def test_filtered_and_several_events_tell_nothing(event: Any) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    recording = SimpleNamespace(frames=Frames(), optimizers=[], schedulers=[], loaders_of=lambda phase: [])
    found: list[Any] = []
    trainer = engine.Engine(lambda *_: found.append(attached_schedules(recording, 20)))
    trainer.add_event_handler(event, pieces(optimizer))
    trainer.add_event_handler(Events.ITERATION_STARTED, ignite.LinearCyclicalScheduler(optimizer, "momentum", 0.8, 0.9, 8))
    trainer.run([0], max_epochs=1)
    assert found == [([], set())]
