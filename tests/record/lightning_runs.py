"""A small LightningModule that a Trainer fits, and the recording of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_loops import loaders, record

from trainlint.record.recording import Recording

__all__ = ["fitted"]


def fitted(configure=lambda sgd: sgd, *, settings=None, **methods) -> Recording:  # type: ignore[no-untyped-def]
    """Recording of five epochs with what ``configure`` makes of an optimizer, and with other methods of the module."""
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
        lightning.Trainer(max_epochs=5, accelerator="cpu", **(settings or {}), **quiet).fit(Module(), loaders()[0])

    return record(run)
