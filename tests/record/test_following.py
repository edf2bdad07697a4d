"""Whether another training follows is read off the code after the running lines."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PRELUDE = """
import torch
from torch.optim import SGD
from trainlint.record.following import another_training_follows
from trainlint.record.frames import Frames
frames = Frames()
def step():
    print(another_training_follows(frames))
def fit(model, lr=0.1):
    optimizer = SGD(model.parameters(), lr)
    for _ in range(1):
        step()
def evaluate(model):
    return model
model = torch.nn.Linear(1, 1)
"""


def said(folder: Path, code: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    script = folder / "s.py"
    script.write_text(PRELUDE + code)
    runpy.run_path(str(script))
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("code", "follows"),
    [
        ("step()\nevaluate(model)", False),
        ("step()\noptimizer = torch.optim.Adam(model.parameters())", True),
        ("fit(model)\nevaluate(model)", False),
        ("class Once:\n    def go(self):\n        fit(model)\n        evaluate(model)\nOnce().go()", False),
        ("if True:\n    step()\nelse:\n    SGD(model.parameters(), 1)", False),
        ("if True:\n    step()\n    if model:\n        def tune():\n            return SGD(model.parameters(), 1)\n        tune()", True),
        ("def tune():\n    return SGD(model.parameters(), 1)\nstep()\ntune()", True),
        ("for fold in range(1):\n    step()\n    SGD(model.parameters(), 1)", False),
        ("def main():\n    step()\nmain()\nlater = [SGD(model.parameters(), 1)]", True),
        ("class Once:\n    def fit(self):\n        step()\nOnce().fit()\nif False:\n    missing.fit()", True),
        ("class Trainer:\n    def __init__(self):\n        self.o = SGD(model.parameters(), 1)\nstep()\nTrainer()", True),
        ("class Plain:\n    def __init__(self):\n        self.o = model\nstep()\nPlain()", False),
        ("step()\nunknown = lambda: missing.SGD(1)", False),
    ],
)
def test_what_comes_after_the_running_line_decides(code: str, follows: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, code, capsys)[:1] == [str(follows)]


def test_the_same_function_called_again_trains_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, "fit(model)\nfit(model, lr=1.0)", capsys) == ["True", "False"]
