"""``trainlint recipe`` on a folder of pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner, Result

from trainlint.cli import main

from .pictures import write_folder

QUICK = ("--model", "test_resnet", "--size", "32", "--batch-size", "8", "--epochs", "1", "--no-checks", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"))


def recipe(*args: object) -> Result:
    return CliRunner().invoke(main, ["recipe", *map(str, args)])


def test_training_writes_weights_numbers_and_curves_and_goes_on_later(data: Path, tmp_path: Path) -> None:
    result = recipe(data, *QUICK, "--out", tmp_path, "--set", "schedule=cyclic", "--set", "cycles=2", "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert "kept: epoch" in result.output
    assert "snapshots:" in result.output
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert (tmp_path / "curves.svg").read_text().count("<svg") == 1
    used = json.loads((tmp_path / "recipe.json").read_text())
    assert used["batch_size"] == 8
    assert used["label_smoothing"] < 0.1
    again = recipe(
        data, *QUICK, "--out", tmp_path, "--set", "schedule=cyclic", "--set", "cycles=2", "--epochs", 2, "--resume", tmp_path / "last.pt"
    )
    assert again.exit_code == 0, again.output
    assert list(csv.DictReader((tmp_path / "history.csv").open())) == rows


def test_weights_from_a_file_get_a_new_head(data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), weights)
    result = recipe(data, *QUICK, "--weights", weights, "--similar", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "advice: feature extraction" in result.output
    body = torch.load(tmp_path / "out" / "best.pt", weights_only=True)["model"]
    assert torch.equal(body["conv1.0.weight"], torch.load(weights, weights_only=True)["conv1.0.weight"])


def test_ablation_and_search_write_tables(data: Path, tmp_path: Path) -> None:
    kept = "warm-up,schedule,weight-decay,decay-groups,gradient-clipping,label-smoothing,cutmix,auto-augment,random-crop,random-erasing,ema,stochastic-depth"
    ablated = recipe(data, *QUICK, "--ablate", "--without", kept, "--set", "ramp=0", "--out", tmp_path)
    assert ablated.exit_code == 0, ablated.output
    assert [row["variant"] for row in csv.DictReader((tmp_path / "ablation.csv").open())] == ["full recipe", "without mixup"]
    searched = recipe(data, *QUICK, "--search", 2, "--out", tmp_path)
    assert searched.exit_code == 0, searched.output
    assert "best: --set lr=" in searched.output
    assert len(list(csv.DictReader((tmp_path / "search.csv").open()))) == 2
    assert "<svg" in (tmp_path / "search.svg").read_text()


def test_a_folder_without_splits_is_split_by_class(tmp_path: Path) -> None:
    from trainlint.recipe.data import labels_of, open_image_folders

    images = open_image_folders(write_folder(tmp_path, 30, splits=("",)), val_share=0.2)
    assert (len(images.train), len(images.val)) == (24, 6)  # type: ignore[arg-type]
    assert sorted(labels_of(images.val) or ()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], "there is no folder"),
        (["{data}", "--model", "resnet81"], "did you mean"),
        (["{data}", "--model", "test_resnet", "--model-option", "wings=2", "--no-checks"], "refuses"),
        (["{data}", "--model-option", "wings"], "NAME=VALUE"),
        (["{data}", "--set", "mixxup=1"], "did you mean 'mixup'"),
        (["{data}", "--without", "mixups"], "did you mean 'mixup'"),
        (["{data}", "--weights", "none.pth"], "no file of weights"),
        (["{data}", "--weights", "{data}/broken.pth", "--model", "test_resnet"], "could not be read as weights"),
        (["{data}", "--device", "abacus"], "--device abacus"),
        (["{data}", "--resume", "x.pt", "--search", "3"], "choose one"),
        (["{data}/train/a"], "class needs a folder"),
    ],
)
def test_wrong_use_is_explained_without_a_trace(data: Path, args: list[str], words: str) -> None:
    (data / "broken.pth").write_bytes(b"no weights")
    result = recipe(*(a.format(data=data) for a in args))
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_folders_that_disagree_about_classes_are_refused(tmp_path: Path) -> None:
    data = write_folder(tmp_path)
    (data / "val" / "a").rename(data / "val" / "z")
    result = recipe(data)
    assert result.exit_code == 2
    assert "a, z" in result.output


def test_settings_are_shown_without_training(data: Path) -> None:
    result = recipe(data, "--show", "--set", "mixup=0.9", "--full-strength")
    assert result.exit_code == 0
    assert '"mixup": 0.9' in result.output
    assert '"label_smoothing": 0.1' in result.output


def test_a_broken_problem_is_not_trained(tmp_path: Path) -> None:
    data = write_folder(tmp_path, 24)
    for path in (data / "train").glob("*/*.png"):
        (data / "val" / path.parent.name / f"copy-{path.name}").write_bytes(path.read_bytes())
    result = recipe(data, "--model", "test_resnet", "--size", "32", "--batch-size", "8", "--epochs", "1", "--out", tmp_path / "out")
    assert "check split-leak" in result.output
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
