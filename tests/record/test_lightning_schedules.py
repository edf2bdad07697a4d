"""Schedules that Lightning steps once an epoch are stepped when an epoch is cut short, as at its true end."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_loops import loaders, record

from trainlint.record.recording import Recording


def fitted(configure, **methods) -> Recording:  # type: ignore[no-untyped-def]
    """Recording of five epochs with what ``configure`` makes of an optimizer."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(6, 3)

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return configure(torch.optim.SGD(self.parameters(), 0.1))

    for name, method in methods.items():
        setattr(Module, name, method)

    def run() -> None:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        lightning.Trainer(max_epochs=5, accelerator="cpu", **quiet).fit(Module(), loaders()[0])

    return record(run)


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
