"""check() takes every kind of model and data, and says in one message what it cannot take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trainlint

sys.path.insert(0, str(Path(__file__).parent))
from framework_kinds import lightning_module
from kinds import loader, mlp, x, y
from model_kinds import KINDS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_taken_as_it_is(kind: str) -> None:
    arguments, options = KINDS[kind]()
    report = trainlint.check(*arguments, **options, only=["input-finite"], budget=60)
    assert report["input-finite"].outcome is trainlint.Outcome.PASS, report["input-finite"].reason


def test_a_lightning_module_is_left_as_it_was() -> None:
    module = lightning_module()
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    trainlint.check(module, loader(x, y), only=["input-finite"])
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert module.seen == []
    assert not {"log", "log_dict"} & set(vars(module))


def fails(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    raise KeyError("mask")


@pytest.mark.parametrize(
    ("model", "data", "options", "says"),
    [
        (
            mlp,
            lambda: loader(torch.randn(16, 9), torch.zeros(16).long()),
            {},
            r"cannot be called on a batch of the loader, a list of \[0\] \[8, 9\] float32",
        ),
        (lambda: mlp().to("meta"), lambda: loader(x, y), {}, "meta device"),
        (mlp, lambda: loader(x, y), {"device": "cuda"}, r"device='cuda' was given, but Sequential is on cpu"),
        (mlp, lambda: (b for b in loader(x, y)), {}, "use it up"),
        (mlp, lambda: TensorDataset(x, y), {}, r"pass DataLoader\(TensorDataset"),
        (mlp, lambda: DataLoader([], 8), {}, "its dataset is empty"),
        (lambda: mlp().half(), lambda: loader(x, y), {}, "is in float16 and the loader gives"),
        (mlp, lambda: loader(x, y), {"loss_fn": F.mse_loss}, "loss_fn raised RuntimeError"),
        (mlp, lambda: loader(x, y), {"step": fails}, r"the step raised KeyError: 'mask' \(.*test_check_kinds.py:\d+\)"),
        (mlp, lambda: None, {}, "as the second argument"),
    ],
)
def test_what_cannot_be_taken_is_one_message(model, data, options, says: str) -> None:
    with pytest.raises(trainlint.InputError, match=says) as caught:
        trainlint.check(model(), data(), only=["input-finite"], **options)
    assert "\n" not in str(caught.value)


def test_the_projects_settings_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.trainlint]\nselect = ["input-finite", "label-range"]\nignore = ["label-range"]\n')
    monkeypatch.chdir(tmp_path)
    assert [f.name for f in trainlint.check(mlp(), loader(x, y))] == ["input-finite"]
    assert [f.name for f in trainlint.check(mlp(), loader(x, y), only=["init-loss"])] == ["init-loss"]
    (tmp_path / "trainlint.toml").write_text('slect = ["init-loss"]')
    with pytest.raises(trainlint.UsageError, match="did you mean 'select'"):
        trainlint.check(mlp(), loader(x, y))
