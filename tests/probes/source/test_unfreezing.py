"""What a running loop sets free later on is read off its source."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PRELUDE = """
import torch
from torch import nn
from trainlint.probes.source.unfreezing import unfrozen_later
from trainlint.record.frames import Frames
model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)}).requires_grad_(False)
body, head, never, warm = model["body"], model["head"].requires_grad_(True), 0, 3
optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
def step():
    place = unfrozen_later(Frames(), {id(p) for p in body.parameters()})
    print(place and open(place[0]).read().splitlines()[place[1] - 1].strip())
    raise SystemExit
def free(module, flag=True):
    for p in module.parameters():
        p.requires_grad = flag
class Run:
    def __init__(self, warm):
        self.warm = warm
    def begin(self, epoch):
        if self.warm and epoch == self.warm:
            self.set(True)
    def set(self, flag):
        for name, p in model.named_parameters():
            p.requires_grad_(flag)
    def fit(self, epochs):
        for epoch in range(epochs):
            self.begin(epoch)
            step()
"""
LOOP = "for epoch in range(9):\n    {}\n    step()\n"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (LOOP.format("if epoch == 3: body.requires_grad_(True)"), "if epoch == 3: body.requires_grad_(True)"),
        (LOOP.format("if epoch == warm: free(body)"), "p.requires_grad = flag"),
        (LOOP.format("if epoch == warm: free(body, True)"), "if epoch == warm: free(body, True)"),
        ("Run(4).fit(9)", "self.set(True)"),
        ("for epoch in range(9):\n    step()\n    for p in body.parameters():\n        p.requires_grad = True", "p.requires_grad = True"),
        ("Run(0).fit(9)", "None"),
        (LOOP.format("if never and epoch == never: free(body, True)"), "None"),
        (LOOP.format("if epoch == 20: free(body, True)"), "None"),
        (LOOP.format("if epoch == warm: free(head, True)"), "None"),
        (LOOP.format("x = torch.ones(2).requires_grad_(True)"), "None"),
        (LOOP.format("free(body, True); free(body, False)"), "None"),
        (LOOP.format("if epoch == 3:\n        free(body, True)\n        optimizer = torch.optim.SGD(model.parameters(), 0.1)"), "None"),
        (LOOP.format("if epoch == 3:\n        free(body, True)\n        optimizer.add_param_group({'params': body.parameters()})"), "None"),
        (LOOP.format("if epoch == 3:\n        free(body, True)\n        optimizer = build(model)"), "None"),
        ("for epoch in range(9):\n    step()\nfree(body, True)", "None"),
    ],
)
def test_only_a_loop_that_frees_what_waits_and_hands_it_to_no_optimizer_is_told(
    code: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "s.py"
    script.write_text(PRELUDE + code)
    with pytest.raises(SystemExit):
        runpy.run_path(str(script))
    assert capsys.readouterr().out.strip() == line
