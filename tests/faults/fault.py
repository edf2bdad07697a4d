"""A small healthy training script with places for faults, and the shape of a row of the fault table.

A script may write to the folder named by ``$MARKS``, which lies outside its project, to say how far it has come.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Fault", "script"]

_SCRIPT = """
{first}
import os, sys, time
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

{imports}

def mark(name):
    open(os.path.join(os.environ["MARKS"], name), "w").close()

torch.manual_seed(0)
x = torch.randn(400, 10)
y = (x[:, :3].sum(1) > 0).long() + (x[:, 3] > 0).long()

class Points(Dataset):
    read = 0
    def __init__(self, start, end):
        self.start, self.end = start, end
    def __len__(self):
        return self.end - self.start
    def __getitem__(self, i):
        Points.read += 1
        {item}
        return x[self.start + i], y[self.start + i]

class Net(nn.Module):
    calls = 0
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
    def forward(self, inputs):
        Net.calls += 1
        {forward}
        return self.layers(inputs)

{build}
loader, val_loader = DataLoader(Points(0, 300), 32, shuffle=True{loading}), DataLoader(Points(300, 400), 64)
model = Net()
optimizer = {optimizer}

def train():
    steps = 0
    for epoch in range(30):
        model.train()
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            steps += 1
            {step}
        model.eval()
        with torch.no_grad():
            hits = sum((model(a).argmax(1) == b).sum().item() for a, b in val_loader)
        {epoch}

{run}
{after}
"""


def script(**holes: str) -> str:
    """A small healthy training script with code put into some of its places: ``first``, ``imports``, ``item``, ``forward``, ..."""
    holes = {"optimizer": "torch.optim.AdamW(model.parameters(), lr=3e-3)", "run": "train()", "loading": "", **holes}
    lines = []
    for line in _SCRIPT.strip().splitlines():
        place = line.strip()
        if place.startswith("{") and place.endswith("}"):
            lines.append(textwrap.indent(textwrap.dedent(holes.pop(place[1:-1], "pass")).strip(), line[: len(line) - len(place)]))
        else:
            lines.append(line)
    text = "\n".join(lines) + "\n"
    for name in ("loading", "optimizer"):
        text = text.replace("{" + name + "}", holes.pop(name))
    if holes:
        msg = f"the script has no place called {', '.join(holes)}"
        raise ValueError(msg)
    return text


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    source: str | bytes = field(default_factory=script)
    code: int
    """Exit code that must come of it."""
    says: str = ""
    """Regular expression that what is printed to stderr, or else to stdout, must match."""
    status: str = "recorded"
    """How the report says that the script ended; empty when there is to be no report."""
    name: str = "train.py"
    files: Mapping[str, str] = field(default_factory=dict)
    """Files beside the script."""
    options: tuple[str, ...] = ()
    select: str = "init-loss,loop-order,gradient-accumulation,non-finite,shuffle,split-leak,overfit-batch"
    """Rules of a scan; all when empty."""
    args: tuple[str, ...] = ()
    """The script's own arguments."""
    signal: str = ""
    """Signal that is sent to trainlint once the script has left the mark ``here``."""
    stdout: str = ""
    """File that stdout goes to, such as ``/dev/full``."""
    cheap: bool = False
    """Whether it is run with every change of the project, in a forked process."""
