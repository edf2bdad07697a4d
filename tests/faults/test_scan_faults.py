"""Whatever goes wrong with a script, a scan ends with the right code, one clear message, a report of what was seen, and no trace.

``benchmarks/faults.py`` runs the whole table in processes of its own; here are the faults that are quickly had.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent.parent / "rules"))

from fault import Fault, script
from table import SCANS
from warm import forked

from trainlint.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scans are run on POSIX systems")


def fingerprint(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder" for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", [name for name, fault in SCANS.items() if fault.cheap])
def test_each_fault_comes_to_what_the_table_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault: Fault = SCANS[name]
    project, report = tmp_path / "project", tmp_path / "report.json"
    forked(monkeypatch)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for path, content in {fault.name: fault.source, **fault.files}.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = fingerprint(project)
    monkeypatch.chdir(project)
    done = CliRunner().invoke(main, ["scan", "--no-proof", "--select", "init-loss,gradient-accumulation,non-finite,shuffle", "--format", "json", "--output", str(report), *fault.options, fault.name])  # fmt: skip
    assert done.exit_code == fault.code, done.output
    assert re.search(fault.says, done.output, re.DOTALL), done.output
    assert not re.search(r'File "[^"]*/trainlint/', done.output)
    assert json.loads(report.read_text())["subject"]["status"] == fault.status
    assert fingerprint(project) == before
    assert list((tmp_path / "tmp").glob("trainlint-*")) == []


def without_times(value: Any) -> Any:
    """A report less what tells of time."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "cost"}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_two_scans_of_a_script_give_the_same_report_but_for_times(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        script(first="import random, numpy\nrandom.seed(1), numpy.random.seed(1)", item="noise = numpy.random.rand() + random.random()")
    )
    reports = []
    for seed in ("1", "2"):  # of strings' hashes, and so of the order in sets
        subprocess.run(
            [sys.executable, "-m", "trainlint", "scan", "train.py", "--seed", "3", "--no-proof", "--format", "json", "--output", f"{seed}.json"],
            cwd=tmp_path, capture_output=True, check=True, timeout=240, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        reports.append(without_times(json.loads((tmp_path / f"{seed}.json").read_text())))
    assert reports[0] == reports[1]
