"""Schedules that Lightning steps once an epoch are stepped when an epoch is cut short, as at its true end."""

from __future__ import annotations

import pytest
import torch
from lightning_runs import fitted


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_schedule_is_stepped_as_often_as_in_a_whole_run(interval: str) -> None:
    recording = fitted(lambda sgd: ([sgd], [{"scheduler": torch.optim.lr_scheduler.StepLR(sgd, 10), "interval": interval}]))
    assert [i.batches for i in recording.loaders_of("train")[0].iterations] == [6, 2]
    calls = len(recording.schedulers[0].calls)
    assert calls == 1 if interval == "epoch" else calls >= 7


@pytest.mark.parametrize("frequency", [1, 3])
def test_a_schedule_that_waits_for_some_epochs_is_known_to(frequency: int) -> None:
    recording = fitted(lambda sgd: ([sgd], [{"scheduler": torch.optim.lr_scheduler.StepLR(sgd, 10), "frequency": frequency}]))
    assert recording.schedulers[0].sometimes is (frequency > 1)


def test_the_method_that_steps_a_schedule_is_known_though_it_does_nothing() -> None:
    def lr_scheduler_step(self, scheduler, metric):  # type: ignore[no-untyped-def]
        if metric is not None:
            scheduler.step()

    recording = fitted(lambda sgd: ([sgd], [torch.optim.lr_scheduler.StepLR(sgd, 10)]), lr_scheduler_step=lr_scheduler_step)
    seen = recording.schedulers[0]
    assert not seen.calls
    assert seen.stepper is not None
    assert seen.stepper[2] == "lr_scheduler_step"
