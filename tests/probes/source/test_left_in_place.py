"""Averages that a running loop puts into the model and never takes out again are read off its source."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PRELUDE = """
import copy
import torch
from torch import nn
from trainlint.probes.source.left_in_place import left_in_place
from trainlint.record.frames import Frames
model = nn.Linear(2, 2)
other, every = copy.deepcopy(model), 5
def step():
    found = left_in_place(Frames(), ema, {"shadow"}, {id(p) for p in model.parameters()})
    print(found and (open(found[0][0]).read().splitlines()[found[0][1] - 1].strip(), found[1]))
    raise SystemExit
class Average:
    def __init__(self, model):
        self.model = model
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.kept = {}
    def update(self):
        for name, p in self.model.named_parameters():
            self.shadow[name] = 0.9 * self.shadow[name] + 0.1 * p.detach()
    @torch.no_grad()
    def swap_in(self):
        for name, p in self.model.named_parameters():
            self.kept[name] = p.data
            p.data = self.shadow[name].clone()
    def swap_out(self):
        for name, p in self.model.named_parameters():
            p.data = self.kept[name]
class Pairs:
    def __init__(self, model):
        self.shadow, self.kept = [p.detach().clone() for p in model.parameters()], []
    def lend(self, parameters):
        for mine, p in zip(self.shadow, parameters):
            p.data.copy_(mine.to(p.device).data)
    def give_back(self, parameters):
        for mine, p in zip(self.kept, parameters):
            p.data.copy_(mine.data)
class Plain:
    def __init__(self, model):
        self.shadow = model.state_dict()
    def swap_in(self):
        model.load_state_dict(self.shadow)
class Leading(Average):
    def swap_in(self):
        for name, p in self.model.named_parameters():
            self.shadow[name] += 0.5 * (p.data - self.shadow[name])
            p.data = self.shadow[name].clone()
@torch.no_grad()
def validate(net):
    ema.swap_in()
    return net(torch.ones(1, 2))
class Run:
    def fit(self):
        for epoch in range(9):
            step()
            if epoch % every == 0:
                self.test(model)
    def test(self, net):
        ema.lend(net.parameters())
ema = Average(model)
"""
LOOP = "for epoch in range(9):\n    {}\n    step()\n"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (LOOP.format("if epoch % 5 == 4: validate(model)"), ("ema.swap_in()", "swap_out")),
        (LOOP.format("ema.swap_in()"), ("ema.swap_in()", "swap_out")),
        ("ema = Pairs(model)\nRun().fit()", ("ema.lend(net.parameters())", "give_back")),
        (LOOP.format("if epoch % 5 == 4: validate(model); ema.swap_out()"), None),
        (LOOP.format("if epoch == 8: validate(model)"), None),
        (LOOP.format("if epoch > 3:\n        validate(model)\n        break"), None),
        (LOOP.format("validate(model); model.load_state_dict(other.state_dict())"), None),
        ("ema = Pairs(model)\n" + LOOP.format("ema.lend(other.parameters())"), None),
        ("ema = Plain(model)\n" + LOOP.format("ema.swap_in()"), None),
        ("ema = Leading(model)\n" + LOOP.format("ema.swap_in()"), None),
        ("for epoch in range(9):\n    step()\nvalidate(model)", None),
        (LOOP.format("ema.update()"), None),
    ],
)
def test_an_average_that_stays_is_found_in_the_running_loop(tmp_path: Path, capsys, code: str, line: tuple[str, str] | None) -> None:
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + code)
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip() == str(line)
