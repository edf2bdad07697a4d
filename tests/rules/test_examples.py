"""Each rule's scripts, scanned for real: the bad one fails at its marked line, the good one passes and raises no error at all.

Rules on whole runs have theirs watched, those on several processes in two of them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from warm import warm_scan

from trainlint.finding import Severity
from trainlint.measurements import Curves, Ranks, WatchedRun
from trainlint.registry import load_catalogue

HERE = Path(__file__).parent
#: Rules of whole runs are not for a scan; their tests run the example scripts to the end.
RULES = [rule for rule in load_catalogue().rules if Curves not in rule.requires]
FRAMEWORKS = {"lightning": "lightning", "transformers": "transformers", "accelerate": "accelerate", "timm": "timm", "sklearn": "sklearn"}


@pytest.fixture
def run(monkeypatch, tmp_path: Path):
    """Gives the report on a script, by the command that the rule is for."""

    def report(rule, script: Path, *, alone: bool) -> dict:
        options = ("--select", rule.name) if alone else ()
        if Ranks in rule.requires:
            return watch(script, tmp_path, 2, *options)
        if WatchedRun in rule.requires:
            return watch(script, tmp_path, 1, *options)
        for module, package in FRAMEWORKS.items():
            if f"import {module}" in script.read_text() or f"from {module}" in script.read_text():
                pytest.importorskip(package)
        return warm_scan(script, monkeypatch, select=(rule.name,) if alone else ())

    return report


def watch(script: Path, tmp_path: Path, world: int, *options: str) -> dict:
    """Processes as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "trainlint", "watch", script.name, "--no-html", "--dir", str(tmp_path / "watch")]
    command += ["--format", "json", "--output", str(tmp_path / "report.json"), *options]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(command, cwd=script.parent, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]  # fmt: skip
    said = [rank.communicate(timeout=280) for rank in ranks]
    assert ranks[0].returncode in (0, 1), said
    return json.loads((tmp_path / "report.json").read_text())


def failures(report: dict, *severities: str) -> list[str]:
    return [f"{f['name']}: {f['message']}" for f in report["findings"] if f["verdict"] == "fail" and f["severity"] in severities]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_the_bad_script_fails_where_it_is_marked(rule, run) -> None:
    script = HERE / rule.name / "bad.py"
    report = run(rule, script, alone=True)
    finding = next(f for f in report["findings"] if f["name"] == rule.name)
    assert finding["verdict"] == "fail", finding["reason"] or finding["message"]
    assert finding["fix"]["summary"]
    marked = [n for n, line in enumerate(script.read_text().splitlines(), 1) if f"# fault: {rule.name}" in line]
    if marked:
        assert finding["location"] is not None
        assert min(abs(finding["location"]["line"] - n) for n in marked) <= 1, (finding["location"], marked)
    if rule.severity is Severity.ERROR and finding["severity"] != "note":
        assert report["start_here"] is not None


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_the_good_script_passes_and_nothing_calls_it_wrong(rule, run) -> None:
    report = run(rule, HERE / rule.name / "good.py", alone=False)
    finding = next(f for f in report["findings"] if f["name"] == rule.name)
    assert finding["verdict"] == "pass", finding["reason"] or finding["message"]
    assert failures(report, "error") == []
