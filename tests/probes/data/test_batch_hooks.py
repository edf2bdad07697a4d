"""Hooks of Lightning's that change batches, those of validation among them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, record
from trainlint.measurements import Repeats
from trainlint.probes.data.repeats import measure_repeats

lightning = pytest.importorskip("lightning")


class RandomShift(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn(())


class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)
        self.shift = RandomShift()

    def training_step(self, batch: Any, number: int) -> Any:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Always(Task):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return torch.stack([self.shift(row) for row in x]), y  # draws


class InTraining(Task):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (self.shift(x) if self.trainer.training else x), y


class InTrainingMode(Task):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return (self.shift(x) if self.training else x) / 2, y


class Data(lightning.LightningDataModule):  # type: ignore[misc, name-defined]
    """Scales by itself, so that the module's hook is not asked."""

    def rows(self, count: int) -> TensorDataset:
        torch.manual_seed(count)
        return TensorDataset(torch.randn(count, 4), torch.arange(count) % 3)

    def train_dataloader(self) -> Any:
        return DataLoader(self.rows(128), 16)

    def val_dataloader(self) -> Any:
        return DataLoader(self.rows(64), 16)


class Scaled(Data):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] / 2, batch[1]


def repeats(task: Task, data: Data) -> Repeats:
    """What is measured while the trainer still runs, as in a scan."""
    found: list[Repeats] = []

    def run() -> None:
        trainer = lightning.Trainer(
            max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
        )
        trainer.fit(task, datamodule=data)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record(run, then=lambda recording: found.append(measured(measure_repeats, recording)))
    return found[0]


def test_a_hook_that_draws_is_told_with_its_line() -> None:
    found = repeats(Always(), Data())
    assert found.by_hook == "on_after_batch_transfer"
    assert found.hook_where is not None
    assert found.hook_where.text.endswith("# draws")
    assert found.random_transforms == ("RandomShift",)
    assert any(leaf.varied and leaf.role == "input" for leaf in found.leaves)


@pytest.mark.parametrize(("task", "data"), [(InTraining(), Data()), (InTrainingMode(), Data()), (Always(), Scaled()), (Task(), Data())])
def test_hooks_that_leave_validation_alone_are_fine(task: Task, data: Data) -> None:
    found = repeats(task, data)
    assert found.by_hook == ""
    assert not any(leaf.varied for leaf in found.leaves)
    assert task.training
