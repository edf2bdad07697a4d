"""How a trainer picks the best checkpoint, and which way metrics get better."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.run.kept_best import kept_best, rises
from trainlint.record.frames import Frames


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("mae", False), ("eval_rmse", False), ("val/loss", False), ("valLoss", False), ("wer", False), ("top1_err", False), ("error_rate", False),
        ("val_acc", True), ("eval_accuracy", True), ("acc1", True), ("f1", True), ("eval_macro_f1", True), ("val_map50", True),
        ("val_auroc", True), ("r2", True), ("score", None), ("reward", None), ("neg_mean_squared_error", None), ("negative_loss", None),
        ("f1_loss", None), ("val_loss_reduction", None), ("distance", None), ("blossom", None),
    ],
)  # fmt: skip
def test_names_tell_which_way_a_metric_gets_better(metric: str, better: bool | None) -> None:
    assert rises(metric) is better


def seen() -> list[tuple[str, bool, bool, bool, str]]:
    found = kept_best(SimpleNamespace(frames=Frames()))
    return [(one.metric, one.rises, one.rising_is_better, one.by_default, one.where.text if one.where else "") for one in found]


def test_nothing_is_picked_outside_of_a_trainer() -> None:
    assert seen() == []


def test_callbacks_of_lightning_are_looked_at() -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    found = []

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch, _):
            return self.layer(batch[0]).mean()

        def configure_optimizers(self):
            found.extend(seen())
            raise InterruptedError

    chosen = [
        callbacks.ModelCheckpoint(monitor="val_acc"),  # the default
        callbacks.ModelCheckpoint(monitor="train_loss", mode="max", save_top_k=-1),  # all are kept
        callbacks.EarlyStopping("val_score", mode="max"),
        callbacks.EarlyStopping("val_loss", patience=2),  # right
    ]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_steps=1, callbacks=chosen, accelerator="cpu", **quiet)
    with warnings.catch_warnings(), suppress(InterruptedError):
        warnings.simplefilter("ignore")
        trainer.fit(Net(), DataLoader(TensorDataset(torch.ones(2, 2))))
    assert [(metric, better, told, default) for metric, better, told, default, _ in found] == [
        ("val_loss", False, False, True),
        ("val_acc", True, False, True),
    ]
    assert found[1][-1].endswith("# the default")


@pytest.mark.parametrize(
    ("higher", "keeps", "expected"),
    [(None, True, [("mae", False, True, False)]), (None, False, []), (False, True, [("mae", False, False, False)])],
)
def test_arguments_of_transformers_are_looked_at(tmp_path: Path, higher: bool | None, keeps: bool, expected: list[object]) -> None:
    transformers = pytest.importorskip("transformers")
    found = []

    class Trainer(transformers.Trainer):
        def get_train_dataloader(self):
            found.extend(seen())
            raise InterruptedError

    arguments = transformers.TrainingArguments(
        str(tmp_path),
        metric_for_best_model="mae",  # the metric
        greater_is_better=higher,
        load_best_model_at_end=keeps,
        eval_strategy="epoch",
        save_strategy="epoch",
        use_cpu=True,
    )
    data = TensorDataset(torch.ones(2, 2))
    with suppress(InterruptedError):
        Trainer(nn.Linear(2, 1), arguments, train_dataset=data, eval_dataset=data).train()
    assert [one[:4] for one in found] == expected
    assert all(text.endswith("# the metric") for *_, text in found)
