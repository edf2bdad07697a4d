"""Schedules that are told a count (timm), end by their function (transformers), or run in loops without a loader."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.probes.run.loop import measure_loop
from trainlint.probes.run.optimizers import measure_optimizers
from trainlint_rules.schedule_cadence import ScheduleCadence

EPOCHS, STEPS = 12, 20
X, Y = torch.randn(8 * STEPS, 4), torch.arange(8 * STEPS) % 3


def judged(build, each=None, epoch=None, loader=True):
    """Severity with which a loop is judged that calls ``each(schedule, updates, progress)`` and ``epoch(schedule, epochs)``; "" if it passes."""

    def run() -> None:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        schedule, updates = build(optimizer), 0
        batches = DataLoader(TensorDataset(X, Y), 8, shuffle=True) if loader else [*zip(X.split(8), Y.split(8), strict=True)]
        for turn in range(EPOCHS):
            for i, (x, y) in enumerate(batches):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                updates += 1
                if each:
                    each(schedule, updates, turn + i / STEPS)
            if epoch:
                epoch(schedule, turn + 1)

    recording = record(run)
    verdict = ScheduleCadence().judge(measured(measure_optimizers, recording), measured(measure_loop, recording))
    return verdict.severity.value if verdict.severity is not None else ""


def update(schedule, updates, progress):
    schedule.step_update(updates)


def epoch(schedule, epochs):
    schedule.step(epochs)


def step(schedule, *_):
    schedule.step()


def cosine(length, **settings):
    timm = pytest.importorskip("timm.scheduler")
    return lambda optimizer: timm.CosineLRScheduler(optimizer, length, **settings)


@pytest.mark.parametrize("loader", [True, False])
@pytest.mark.parametrize(
    ("length", "settings", "calls"),
    [
        (EPOCHS * STEPS, {"t_in_epochs": False}, {"each": update, "epoch": epoch}),
        (EPOCHS, {}, {"each": update, "epoch": epoch}),
        (EPOCHS, {"warmup_t": 2}, {"each": lambda s, updates, progress: s.step(progress)}),
        (EPOCHS, {"warmup_t": 2}, {"each": lambda s, updates, progress: s.step(int(progress))}),
    ],
)
def test_passes_counts_in_the_unit_of_the_length(loader, length, settings, calls):
    assert judged(cosine(length, **settings), **calls, loader=loader) == ""


@pytest.mark.parametrize(
    ("length", "settings", "calls"),
    [
        (EPOCHS, {"t_in_epochs": False}, {"each": update, "epoch": epoch}),
        (EPOCHS, {}, {"each": lambda s, updates, progress: s.step(updates)}),
        (EPOCHS, {"warmup_t": 2}, {"each": update}),
        (EPOCHS * STEPS, {"warmup_t": 2, "t_in_epochs": False}, {"epoch": epoch}),
        (EPOCHS * STEPS, {"warmup_t": 2 * STEPS}, {"epoch": epoch}),
    ],
)
def test_fails_counts_in_another_unit(length, settings, calls):
    assert judged(cosine(length, **settings), **calls) == "error"


def test_warns_without_a_loader_when_the_loop_around_it_is_as_long():
    assert judged(cosine(EPOCHS, t_in_epochs=False), each=update, loader=False) == "warning"
    assert judged(lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS), each=step, loader=False) == "warning"
    assert judged(lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS), each=step, loader=False) == ""
    assert judged(lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS), epoch=step, loader=False) == ""


def linear(step, *, num_warmup_steps, num_training_steps):
    return max(0.0, (num_training_steps - step) / num_training_steps)


def swinging(step, *, num_warmup_steps, num_training_steps):
    return 0.5 * (1 + math.cos(math.pi * step / num_training_steps))


@pytest.mark.parametrize(("function", "spent"), [(linear, "error"), (swinging, "warning")])
def test_a_function_of_transformers_has_a_length(function, spent):
    def built(length):
        return lambda o: lr_scheduler.LambdaLR(o, functools.partial(function, num_warmup_steps=1, num_training_steps=length))

    assert judged(built(EPOCHS), each=step) == spent
    assert judged(built(EPOCHS * STEPS), epoch=step) == "warning"
    assert judged(built(EPOCHS * STEPS), each=step) == ""
    assert judged(built(EPOCHS), epoch=step) == ""


def test_a_function_that_stays_at_zero_has_a_length_and_a_decay_has_none():
    assert judged(lambda o: lr_scheduler.LambdaLR(o, lambda call: max(0.0, 1 - call / EPOCHS)), each=step) == "error"
    assert judged(lambda o: lr_scheduler.LambdaLR(o, lambda call: 0.97**call), epoch=step) == ""
