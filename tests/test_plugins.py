"""A rule from outside the package: one module, one entry point, and it is listed, explained, configured and judged like our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RULE = '''"""Steps are few.

## What it checks

The number of recorded steps.
"""

from dataclasses import dataclass

from trainlint.finding import Fix, Severity, Stage
from trainlint.measurements import Loop
from trainlint.rule import Rule, Verdict, failed, passed


@dataclass(frozen=True)
class Options:
    most: int = 0


class FewSteps(Rule):
    code = "TL399"
    name = "few-steps"
    stage = Stage.GRADIENTS
    severity = Severity.WARNING
    summary = "Few steps were recorded"
    why = "It is a test."
    source = "https://example.org"
    requires = (Loop,)
    Options = Options

    def judge(self, loop: Loop) -> Verdict:
        if len(loop.steps) <= self.options.most:
            return passed("few")
        return failed(f"{len(loop.steps)} steps", severity=Severity.WARNING, fix=Fix(summary="Take fewer."))


RULES = (FewSteps,)
EXPLAINS = {"few-steps": ("lr-range",)}
'''
TRAIN = """
import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(40):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
"""


def trainlint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "trainlint", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def test_a_rule_of_another_package_is_one_among_ours(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "few_steps-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: few-steps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trainlint.rules]\nfew = few_steps\n")
    (site / "few_steps.py").write_text(RULE)
    (tmp_path / "train.py").write_text(TRAIN)
    assert "few-steps" in {r["name"] for r in json.loads(trainlint(tmp_path, "rules", "--format", "json").stdout)}
    assert "The number of recorded steps." in trainlint(tmp_path, "explain", "TL399").stdout
    scan = ("scan", "train.py", "--select", "few-steps", "--fail-on", "warning", "--no-html")
    done = trainlint(tmp_path, *scan)
    assert done.returncode == 1, done.stderr
    assert "few-steps" in done.stdout
    (tmp_path / "pyproject.toml").write_text("[tool.trainlint.rules.few-steps]\nmost = 1000\n")
    assert trainlint(tmp_path, *scan).returncode == 0
