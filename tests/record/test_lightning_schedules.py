"""Schedules that Lightning steps once an epoch are stepped when an epoch is cut short, as at its true end."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_loops import loaders, record


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_schedule_is_stepped_as_often_as_in_a_whole_run(interval: str) -> None:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(6, 3)

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 10), "interval": interval}]

    def run() -> None:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        lightning.Trainer(max_epochs=5, accelerator="cpu", **quiet).fit(Module(), loaders()[0])

    recording = record(run)
    assert [i.batches for i in recording.loaders_of("train")[0].iterations] == [6, 2]
    calls = len(recording.schedulers[0].calls)
    assert calls == 1 if interval == "epoch" else calls >= 7
