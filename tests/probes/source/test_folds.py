"""Loops over folds whose model goes on from one to the next, and those that begin anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainlint.measurements import CarriedOver
from trainlint.probes.source.folds import carried_over
from trainlint.record.frames import Frames
from trainlint.record.hooks import listening
from trainlint.record.recorder import Recorder, StopRecording
from trainlint.settings import Settings

pytest.importorskip("sklearn")

HEAD = """
import torch
from torch import nn
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit
X, y = torch.randn(200, 4), torch.randn(200, 1)
def fit(model, X, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for epoch in range(40):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), y).backward()
        optimizer.step()
def start_again(model):
    model.reset_parameters()
"""
ONE_MODEL = """
model = nn.Linear(4, 1)
for fold, (tr, va) in enumerate(KFold(5).split(X)):
    fit(model, X[tr], y[tr])
    print(model(X[va]).mean())
"""


def look(body: str, path: Path) -> CarriedOver | None:
    """What is found while the first fold is trained on."""
    script = path / "folds.py"
    script.write_text(HEAD + body)
    found: list[CarriedOver | None] = []
    recorder = Recorder(Settings(), Frames(), lambda recording: found.append(carried_over(recording)))
    with listening(recorder), pytest.raises(StopRecording):
        exec(compile(script.read_text(), str(script), "exec"), {"__name__": "folds"})
    return found[0]


def test_one_model_for_all_folds_is_found_where_it_is_built(tmp_path: Path) -> None:
    found = look(ONE_MODEL, tmp_path)
    assert found is not None
    assert found.name == "model"
    assert found.where is not None
    assert found.where.text == "model = nn.Linear(4, 1)"


def test_folds_of_a_variable_and_a_splitter_of_before_are_folds_too(tmp_path: Path) -> None:
    body = ONE_MODEL.replace(
        "for fold, (tr, va) in enumerate(KFold(5).split(X))", "kf = KFold(5)\nsplits = list(kf.split(X))\nfor tr, va in splits"
    )
    assert look(body, tmp_path) is not None


@pytest.mark.parametrize(
    "change",
    [
        (
            "model = nn.Linear(4, 1)\nfor fold, (tr, va) in enumerate(KFold(5).split(X)):",
            "for tr, va in KFold(5).split(X):\n    model = nn.Linear(4, 1)",
        ),
        ("KFold(5)", "TimeSeriesSplit(5)"),
        ("ShuffleSplit(1)", "ShuffleSplit(1)"),
        ("    fit(model", "    start_again(model)\n    fit(model"),
        ("    fit(model", "    model.reset_parameters()\n    fit(model"),
        ("    fit(model", "    model.load_state_dict(first)\n    fit(model"),
        ("    print(model(X[va]).mean())", "    break"),
        ("    print(model(X[va]).mean())", "    print(model(X).mean())"),
        ("    fit(model", "    net = nn.Linear(4, 1)\n    fit(net"),
    ],
)
def test_what_begins_anew_or_follows_in_time_is_left_alone(change: tuple[str, str], tmp_path: Path) -> None:
    body = ONE_MODEL.replace(
        "model = nn.Linear(4, 1)\n", "model = nn.Linear(4, 1)\nfirst = {k: v.clone() for k, v in model.state_dict().items()}\n"
    )
    body = (
        body.replace("KFold(5)", "ShuffleSplit(1)") if change[0] == "ShuffleSplit(1)" else ONE_MODEL if "first" not in change[1] else body
    )
    assert change[0] in body
    assert look(body.replace(*change), tmp_path) is None


OWN = """
class Study:
    def __init__(self):
        self.model = nn.Linear(4, 1)
    def prepare(self):
        pass
    def run(self):
        for tr, va in KFold(5).split(X):
            self.prepare()
            fit(self.model, X[tr], y[tr])
            print(self.model(X[va]).mean())
Study().run()
"""


@pytest.mark.parametrize(("prepare", "found"), [("pass", True), ("self.model = nn.Linear(4, 1)", False)])
def test_a_model_of_an_object_is_followed_into_its_methods(prepare: str, found: bool, tmp_path: Path) -> None:
    assert (look(OWN.replace("pass", prepare), tmp_path) is not None) is found


NET = """
from skorch import NeuralNetRegressor
X, y = X.numpy(), y.numpy()
net = NeuralNetRegressor(nn.Linear, module__in_features=4, module__out_features=1, max_epochs=20, train_split=None, verbose=0, warm_start=True)
for tr, va in KFold(5).split(X):
    net.fit(X[tr], y[tr])
    print(net.predict(X[va]).mean())
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("", ""), "net = NeuralNetRegressor("),
        (("net.fit", "net.partial_fit"), "net.partial_fit(X[tr], y[tr])"),
        (("warm_start=True", "warm_start=False"), None),
        (("    net.fit", "    net.initialize()\n    net.fit"), None),
    ],
)
def test_a_net_that_keeps_its_weights_is_found(change: tuple[str, str], line: str | None, tmp_path: Path) -> None:
    pytest.importorskip("skorch")
    found = look(NET.replace(*change), tmp_path)
    assert (found is not None) is (line is not None)
    if found is not None and line is not None:
        assert found.where is not None
        assert found.where.text.startswith(line)
