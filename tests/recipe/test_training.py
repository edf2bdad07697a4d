"""Training: reproducible, resumable, honest about what it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.errors import DivergedError, InputError, UsageError
from trainlint.recipe import Epoch, Evaluation, History, Recipe, evaluate, train

from .pictures import images, loaders, net

SHORT = Recipe(epochs=4, seed=3)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def numbers(history: History) -> list[tuple[float, ...]]:
    return [(e.lr, e.train_loss, e.val_loss, e.val_accuracy or 0.0) for e in history.epochs]


def test_the_recipe_learns() -> None:
    model = net()
    train(model, *loaders(), SHORT.change(epochs=15, lr=5e-3))
    assert (evaluate(model, loaders()[1]).accuracy or 0) > 0.9


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    first, second = net(), net()
    one = train(first, *loaders(), SHORT)
    torch.rand(17)
    two = train(second, *loaders(), SHORT)
    assert numbers(one) == numbers(two)
    assert same(first, second)


def test_another_seed_gives_another_run() -> None:
    one, two = (train(net(), *loaders(), SHORT.change(seed=seed)) for seed in (0, 1))
    assert numbers(one) != numbers(two)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "cyclic"])
def test_a_resumed_run_ends_bit_for_bit_as_one_in_one_piece(tmp_path: Path, schedule: str) -> None:
    class CutError(Exception):
        pass

    def cut(row: Epoch) -> None:
        if row.epoch == 2:
            raise CutError

    recipe = SHORT.change(schedule=schedule, cycles=2)
    whole, resumed = net(), net()
    expected = train(whole, *loaders(), recipe)
    with pytest.raises(CutError):
        train(net(), *loaders(), recipe, out=tmp_path, on_epoch=cut)
    history = train(resumed, *loaders(), recipe, resume=tmp_path / "last.pt")
    assert numbers(history) == numbers(expected)
    assert same(whole, resumed)
    assert len(history.snapshots) == len(expected.snapshots) == (2 if schedule == "cyclic" else 0)


def test_a_checkpoint_of_another_recipe_or_model_is_refused(tmp_path: Path) -> None:
    train(net(), *loaders(), SHORT.change(epochs=1), out=tmp_path)
    with pytest.raises(UsageError, match=r"lr 0\.001 there, 0\.1 here"):
        train(net(), *loaders(), SHORT.change(epochs=1, lr=0.1), resume=tmp_path / "last.pt")
    with pytest.raises(InputError, match="another model"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), *loaders(), SHORT.change(epochs=1), resume=tmp_path / "last.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no checkpoint"):
        train(net(), *loaders(), SHORT, resume=path)


def test_the_best_epoch_is_handed_back_and_written(tmp_path: Path) -> None:
    model = net()
    history = train(model, *loaders(), SHORT, out=tmp_path)
    assert evaluate(model, loaders()[1]).loss == pytest.approx(history.best.val_loss)
    kept = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "history.csv").read_text().count("\n") == 5


def test_training_stops_when_patience_is_over() -> None:
    history = train(net(), *loaders(), Recipe.plain("sgd", 1e-9, epochs=20, patience=2))
    assert history.stopped_early
    assert history.last.epoch < 20
    assert history.stale() == 2


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(DivergedError, match="lower lr"):
        train(net(), *loaders(), Recipe.plain("sgd", 1e30, epochs=3))


def test_another_task_trains_with_its_own_loss() -> None:
    x = torch.linspace(-1, 1, 32).unsqueeze(1)
    loader = DataLoader(TensorDataset(x, 2 * x), 8, shuffle=True)
    recipe = Recipe(epochs=30, lr=0.05, ema=False).without("mixup", "cutmix")
    history = train(nn.Linear(1, 1), loader, loader, recipe, loss_fn=nn.functional.mse_loss)
    assert history.last.val_loss < 0.01
    assert history.last.val_accuracy is None


def test_what_the_recipe_cannot_train_on_is_named() -> None:
    plain = Recipe.plain(epochs=1)
    floats = DataLoader(TensorDataset(torch.rand(4, 2), torch.rand(4, 1)), 2)
    with pytest.raises(InputError, match="pass loss_fn"):
        train(nn.Linear(2, 1), floats, floats, plain)
    with pytest.raises(InputError, match="a mapping with x, y"):
        train(nn.Linear(2, 1), [{"x": torch.rand(2, 2), "y": torch.zeros(2)}], floats, plain)
    with pytest.raises(InputError, match="no parameters"):
        train(nn.ReLU(), *loaders(), plain)
    with pytest.raises(InputError, match="length"):
        train(net(), (batch for batch in loaders()[0]), loaders()[1], plain)
    rows = DataLoader(TensorDataset(torch.rand(4, 2), torch.tensor([0, 1, 0, 1])), 4)
    with pytest.raises(InputError, match="mixup=0"):
        train(nn.Linear(2, 2), rows, rows, Recipe(epochs=1, ramp=0.0))


def test_balanced_sampling_draws_classes_equally_often() -> None:
    from trainlint.recipe import balanced_loader

    pixels, labels = images(60).tensors
    keep = (labels == 0) | (torch.arange(60) < 9)
    loader = balanced_loader(DataLoader(TensorDataset(pixels[keep], labels[keep]), 8, shuffle=True))
    drawn = torch.cat([y for _ in range(40) for _, y in loader])
    shares = torch.bincount(drawn) / len(drawn)
    assert shares.min() > 0.28
    train(net(), loader, loader, SHORT.change(epochs=1, balanced_sampling=True, class_balanced=True))


def test_recall_is_counted_for_each_class() -> None:
    outputs = torch.eye(3)[[0, 0, 1, 2]]
    found = Evaluation(0.0, 0.75, outputs, torch.tensor([0, 1, 1, 2]))
    assert found.recall() == (1.0, 0.5, 1.0)


def test_evaluation_leaves_modes_alone() -> None:
    model = net()
    model[1].eval()
    before = [m.training for m in model.modules()]
    evaluate(model, loaders()[1])
    assert [m.training for m in model.modules()] == before
