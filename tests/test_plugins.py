"""A rule from outside the package: one module, one entry point, and it is listed, explained, configured and judged like our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from trainlint import registry, scanning
from trainlint.errors import PluginError
from trainlint.evidence import Evidence
from trainlint.measurements import Loop
from trainlint.settings import Settings

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


def offer(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Offer a module with rules beside our own, and load the catalogue afresh."""
    (folder / "odd_rules.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "odd_rules", raising=False)
    ours = [p for p in entry_points(group="trainlint.rules") if p.name == "core"]
    theirs = EntryPoint("odd", "odd_rules", "trainlint.rules")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*ours, theirs] if group == "trainlint.rules" else entry_points(group=group)
    )
    monkeypatch.setattr(registry, "load_catalogue", lru_cache(maxsize=1)(registry.load_catalogue.__wrapped__))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (('    summary = "Few steps were recorded"\n', ""), "plug-in 'odd' .*rule FewSteps has no 'summary'; it must be a str"),
        (("severity = Severity.WARNING\n    summary", 'severity = "bad"\n    summary'), "FewSteps has a wrong 'severity': 'bad'"),
        (("TL399", "TL210"), r"FewSteps has the code 'TL210', which trainlint_rules.shuffle.\w+ has already"),
        (("few-steps", "shuffle"), "FewSteps has the name 'shuffle', which trainlint_rules"),
    ],
)
def test_a_rule_that_is_not_complete_or_not_its_own_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: tuple[str, str], said: str
) -> None:
    offer(monkeypatch, tmp_path, RULE.replace(*changed))
    with pytest.raises(PluginError, match=said):
        registry.load_catalogue()


def test_a_short_page_gets_what_it_lacks_and_one_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path, RULE.replace('"""Steps are few.\n', '"""# few-steps\n\nSteps are few.\n', 1))
    page = registry.load_catalogue().find("few-steps").page()
    assert page.startswith("Steps are few.")
    assert "## Why it matters\n\nIt is a test." in page
    assert page.endswith("## References\n\n- <https://example.org>")


def test_a_rule_that_raises_is_told_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path, RULE.replace('return passed("few")', 'return failed("few")').replace("most: int = 0", "most: int = 9"))
    monkeypatch.setattr(scanning, "load_catalogue", registry.load_catalogue)
    evidence = Evidence()
    evidence.measurements["loop"] = Loop()
    text = scanning.judge(evidence, Settings(select=("few-steps",)), name="train.py").to_text()
    assert "note: TL399 few-steps could not judge" in text
    assert "missing 2 required keyword-only arguments" in " ".join(text.split())
    assert "mend it in the package odd_rules" in " ".join(text.split())


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
