from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from probes.recorded import measured, record
from trainlint.probes.run.optimizers import measure_optimizers


def schedule(build, warmup=0.0):
    """What is seen of a scheduler in a loop without a loader, which does not tell its length."""

    def run() -> None:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = build(optimizer)
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.randn(8, 4)), torch.arange(8) % 3).backward()
            optimizer.step()
            scheduler.step()

    recording = record(run)
    recording.schedulers[0].warmup = warmup
    return measured(measure_optimizers, recording).schedulers[0]


def warm_cosine(call: int) -> float:
    return min(1.0, (call + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(call, 2000) / 2000))


def test_a_function_of_the_call_is_followed_to_where_it_stays():
    seen = schedule(lambda optimizer: lr_scheduler.LambdaLR(optimizer, warm_cosine))
    assert 2000 <= seen.preview_calls < 2200
    assert not seen.preview_cut
    assert max(seen.preview) > 0.098
    assert seen.preview[-1] < 1e-4


@pytest.mark.parametrize("endless", [lambda call: (call + 1) ** -0.5, lambda call: 1.5 + math.cos(call / 50)])
def test_a_schedule_without_an_end_says_that_it_goes_on(endless):
    seen = schedule(lambda optimizer: lr_scheduler.LambdaLR(optimizer, endless))
    assert (seen.preview_calls, seen.preview_cut) == (100, True)


def test_a_long_schedule_is_sampled_to_its_end():
    seen = schedule(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=90_000))
    assert (seen.preview_calls, seen.preview_cut) == (90_000, False)
    assert len(seen.preview) < 400
    assert seen.preview[-1] < 0.001


def test_a_warm_restart_is_counted_within_its_cycle():
    seen = schedule(lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10))
    assert seen.preview[0] == pytest.approx(0.1)
    assert seen.preview[-1] < 0.01
    assert seen.preview_cut


def test_a_schedule_that_a_library_counts_on_itself_is_not_said_to_stand_still():
    class Wrapper:
        """As ignite's: asks for the rate without a step."""

        def __init__(self, scheduler):
            self.scheduler = scheduler

        def step(self):
            self.scheduler.last_epoch += 1
            self.scheduler.optimizer.param_groups[0]["lr"] = self.scheduler.get_lr()[0]

    def run(build):
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = build(lr_scheduler.StepLR(optimizer, 30))
        for _ in range(4):
            F.cross_entropy(model(torch.randn(8, 4)), torch.arange(8) % 3).backward()
            optimizer.step()
            scheduler.step()

    assert measured(measure_optimizers, record(lambda: run(Wrapper))).schedulers[0].calls == 4


@pytest.mark.parametrize(("factor", "ignored"), [(lambda call: 1.0, 20.0), (lambda call: min(1.0, call / 20), 0.0)])
def test_a_schedule_that_begins_high_ignores_the_warm_up_that_its_trainer_was_told(factor, ignored):
    assert schedule(lambda optimizer: lr_scheduler.LambdaLR(optimizer, factor), warmup=20.0).ignored_warmup == ignored
