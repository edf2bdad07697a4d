"""Weights that a script keeps or copies without a copy, read off its source."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainlint.probes.run.kept_weights import _in
from trainlint.probes.source.own_files import own_files
from trainlint.record.frames import Frames

LOOP = """
for epoch in range(10):
    train(model, optimizer)
    loss = validate(model)
    if loss < best_loss:
        best_loss = loss
        {keep}
{after}
optimizer = Adam(model.parameters())
"""


def test_the_script_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_files(Frames(), {"__main__": SimpleNamespace(__file__="train.py")})[0] == str(tmp_path / "train.py")


def test_the_script_is_read_first_of_many_files_then_what_is_running(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{name}.py") for name in ["train", *(f"a{i}" for i in range(60))]]
    modules = {"torch": torch} | {Path(file).stem: SimpleNamespace(__file__=file) for file in files[1:]}
    modules["__main__"] = SimpleNamespace(__file__=files[0])
    own = own_files(Frames(), modules)
    assert own[0] == files[0]
    assert __file__ in own[1:3]
    assert len(own) == 40
    assert [file for file in files if file in own] == files[: len(own) - sum(file not in files for file in own)]


def kinds(source: str) -> list[str]:
    return [kind for kind, _, _ in _in(ast.parse(source))]


@pytest.mark.parametrize(
    ("keep", "after", "found"),
    [
        ("best = model.state_dict()", "model.load_state_dict(best)", ["state"]),
        ("best = copy.deepcopy(model.state_dict())", "model.load_state_dict(best)", []),
        ("best = {k: v.clone() for k, v in model.state_dict().items()}", "model.load_state_dict(best)", []),
        ("best = model.state_dict()", "torch.save(best, path)", ["state"]),
        ("best = model.state_dict()", "torch.save({'model': best, 'epoch': epoch}, path)", ["state"]),
        ("best = model.state_dict()", "    torch.save(best, path)", []),
        ("best = model.state_dict()", "model.load_state_dict(copy.deepcopy(best))", []),
        ("best_model = model", "test(best_model)", ["model"]),
        ("best_model = copy.deepcopy(model)", "test(best_model)", []),
        ("best_model = model\n        torch.save(best_model, path)", "", []),
        ("best_loss, best_model = loss, model", "test(best_model)", ["model"]),
    ],
)
def test_what_is_kept_as_the_best(keep: str, after: str, found: list[str]) -> None:
    assert kinds(LOOP.format(keep=keep, after=after)) == found


def test_a_class_that_stops_early_is_read_as_well() -> None:
    source = """
class Stopper:
    def update(self, loss, net):
        if self.best is None or loss < self.best:
            self.best, self.state = loss, net.state_dict()

    def restore(self, net):
        net.load_state_dict(self.state)
"""
    assert kinds(source) == ["state"]


def test_the_best_of_several_models_is_no_fault() -> None:
    source = """
for config in configs:
    model = build(config)
    optimizer = Adam(model.parameters())
    score = fit(model, optimizer)
    if score > best_score:
        best_score, best_model = score, model
test(best_model)
"""
    assert kinds(source) == []


def test_a_model_that_loads_its_own_weights() -> None:
    assert kinds("target.load_state_dict(target.state_dict())") == ["itself"]
    assert kinds("target.load_state_dict(online.state_dict())") == []
