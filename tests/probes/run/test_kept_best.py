"""How a trainer picks the best checkpoint, and which way metrics get better."""

from __future__ import annotations

import ast
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.run.kept_best import kept_best, rises
from trainlint.probes.run.kept_scores import scored
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


def skorch_net(chosen, *callbacks):
    """What is seen within the fit() of a net of skorch's with these callbacks."""
    skorch, numpy = pytest.importorskip("skorch"), pytest.importorskip("numpy")
    found = []

    class Watch(skorch.callbacks.Callback):
        def on_batch_end(self, net, **_):
            found.extend(seen())
            raise KeyboardInterrupt

    given = [(f"own{i}", c) for i, c in enumerate([*callbacks, *chosen(skorch.callbacks), Watch()])]
    net = skorch.NeuralNetClassifier(nn.Linear(2, 2), criterion=nn.CrossEntropyLoss, max_epochs=1, callbacks=given, verbose=0)
    net.fit(numpy.ones((40, 2), "float32"), numpy.arange(40) % 2)
    return found


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (lambda c: [c.EarlyStopping(monitor="valid_acc", load_best=True)], [("valid_acc", True, False)]),
        (lambda c: [c.EarlyStopping("valid_loss", lower_is_better=False)], [("valid_loss", False, True)]),
        (lambda c: [c.EpochScoring("f1_macro", name="macro"), c.Checkpoint(monitor="macro_best")], [("macro", True, False)]),
        (lambda c: [c.EpochScoring("neg_log_loss", True, name="nll"), c.EarlyStopping("nll")], [("nll", True, False)]),
    ],
)
def test_callbacks_of_skorch_are_looked_at(chosen, expected) -> None:
    wrong = [one for one in skorch_net(chosen) if one[1] != one[2]]
    assert [one[:3] for one in wrong] == expected


@pytest.mark.parametrize(
    "chosen",
    [
        lambda c: [c.EarlyStopping(monitor="valid_acc", lower_is_better=False)],
        lambda c: [c.EarlyStopping(), c.Checkpoint()],
        lambda c: [c.Checkpoint(monitor="valid_acc_best")],
        lambda c: [c.EpochScoring("neg_log_loss", name="nll", lower_is_better=False), c.EarlyStopping("nll", lower_is_better=False)],
        lambda c: [c.EpochScoring("f1_macro")],  # nothing is kept by it
    ],
)
def test_callbacks_of_skorch_that_go_the_right_way_pass(chosen) -> None:
    assert all(one[1] == one[2] for one in skorch_net(chosen))


IGNITE = "from ignite.handlers import Checkpoint, EarlyStopping\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("EarlyStopping(3, lambda e: e.state.metrics['nll'], trainer)", [("EarlyStopping", "nll", True)]),
        ("EarlyStopping(3, lambda e: e.state.metrics['nll'], trainer, mode='min')", [("EarlyStopping", "nll", False)]),
        (
            "def score(e):\n    loss = e.state.metrics['loss']\n    return -loss\nCheckpoint(d, s, score_function=score)",
            [("Checkpoint", "loss", False)],
        ),
        ("Checkpoint(d, s, score_function=lambda e: -1.0 * e.state.metrics['acc'])", [("Checkpoint", "acc", False)]),
        ("Checkpoint(d, s, score_function=lambda e: float(e.state.metrics['acc']))", [("Checkpoint", "acc", True)]),
        ("Checkpoint(d, s, score_function=Checkpoint.get_default_score_fn('loss', -1.0))", [("Checkpoint", "loss", False)]),
        ("Checkpoint(d, s, score_function=Checkpoint.get_default_score_fn('loss'))", [("Checkpoint", "loss", True)]),
        ("Checkpoint(d, s, score_function=lambda e: e.state.metrics['loss'], n_saved=None)", []),
        ("Checkpoint(d, s, score_function=lambda e: 1 - e.state.metrics['loss'])", []),
        ("Checkpoint(d, s, score_function=lambda e: e.state.output)", []),
        ("Checkpoint(d, s, score_function=make(2))", []),
        ("Checkpoint(d, s)", []),
        ("EarlyStopping(3, **more)", []),
    ],
)
def test_score_functions_of_ignite_are_read(source: str, expected: list[object]) -> None:
    found = [(call.func.id, metric, higher) for call, metric, higher, _ in scored(ast.parse(IGNITE + source))]
    assert found == expected
    assert not list(scored(ast.parse(source)))
