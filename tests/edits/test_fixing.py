"""`trainlint scan --diff` and `--fix`, one real scan before and after, the rest with a report made by hand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

import trainlint.scanning
from trainlint.cli import main
from trainlint.report import Report, Subject
from trainlint.scanning import ScanError

from .test_files import SCRIPT, SHUFFLED, finding, report

TRAIN = """\
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
y = torch.arange(320) // 40
x = torch.randn(320, 8) + y[:, None]
loader = DataLoader(TensorDataset(x, y), batch_size=16)
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(3):
    for a, b in loader:
        loss = F.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("train.py")
    path.write_text(SCRIPT, "utf-8")
    return path


def scan(monkeypatch: pytest.MonkeyPatch, reports: list[Report | Exception], *options: str) -> Result:
    def told(*args: object, **kwargs: object) -> Report:
        answer = reports.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(trainlint.scanning, "scan", told)
    return CliRunner().invoke(main, ["scan", "train.py", "--no-html", *options])


def test_fix_mends_both_faults_of_a_script_and_scans_it_again(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN, "utf-8")
    command = [
        sys.executable,
        "-m",
        "trainlint",
        "scan",
        "train.py",
        "--no-html",
        "--select",
        "shuffle,gradient-accumulation",
        "--fix",
        "--yes",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mended = TRAIN.replace("batch_size=16", "batch_size=16, shuffle=True").replace(
        "        loss.backward()\n", "        optimizer.zero_grad()\n        loss.backward()\n"
    )
    assert (tmp_path / "train.py").read_text("utf-8") == mended
    assert "gone: gradient-accumulation, shuffle" in done.stderr
    assert "+        optimizer.zero_grad()" in done.stdout


def test_diff_changes_nothing_and_can_be_applied(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = finding(script, kind="no-such", name="other")
    result = scan(monkeypatch, [report(finding(script), none)], "--diff")
    assert result.exit_code == 1
    assert script.read_text("utf-8") == SCRIPT
    assert "# TL210 shuffle (error), safe: Shuffle." in result.stdout
    assert "other (error): no edit" in result.stderr
    subprocess.run(["git", "apply", "-p0"], input=result.stdout.encode(), check=True)
    assert script.read_text("utf-8") == SHUFFLED


def test_without_a_terminal_nothing_is_changed_unless_told(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = scan(monkeypatch, [report(finding(script))], "--fix")
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert script.read_text("utf-8") == SCRIPT


def test_both_results_are_shown(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(finding(script))
    result = scan(monkeypatch, [before, replace(before, findings=(), start_here=None)], "--fix", "--yes")
    assert result.exit_code == 0
    assert script.read_text("utf-8") == SHUFFLED
    assert "before: 1 error; after: nothing failed\ngone: shuffle" in result.stderr


def test_an_edited_script_that_does_not_run_is_put_back(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = scan(monkeypatch, [report(finding(script)), ScanError("train.py crashed")], "--fix", "--yes")
    assert result.exit_code == 2
    assert "put back: train.py crashed" in result.output
    assert script.read_text("utf-8") == SCRIPT


def test_edits_to_be_reviewed_need_a_word(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.write_text("x = y.detach()\n", "utf-8")
    seen = report(finding(script, "keep-gradients", 1, "no-gradient", cut="detach"))
    result = scan(monkeypatch, [seen], "--fix", "--yes")
    assert "--unsafe-fixes applies it" in result.stderr
    assert "nothing to apply" in result.stderr
    assert script.read_text("utf-8") == "x = y.detach()\n"
    scan(monkeypatch, [seen, replace(seen, findings=(), start_here=None)], "--fix", "--yes", "--unsafe-fixes")
    assert script.read_text("utf-8") == "x = y\n"


def test_a_link_is_a_usage_error(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.rename("real.py")
    script.symlink_to("real.py")
    result = scan(monkeypatch, [report(finding(script))], "--fix", "--yes")
    assert result.exit_code == 2
    assert "symbolic link" in result.output
    assert "othing was changed" in result.output


def test_changes_that_are_not_committed_are_told_before_the_scan(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one"]):
        subprocess.run(["git", *command], check=True)
    script.write_text(SCRIPT + "# more\n")
    result = scan(monkeypatch, [], "--fix", "--yes")  # a scan would fail: there is no report for it
    assert result.exit_code == 2
    assert "changes that are not committed (train.py)" in result.output
    assert "Nothing was scanned" in result.output


@pytest.mark.usefixtures("script")
def test_a_scan_that_saw_nothing_leaves_the_last_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path("trainlint-report.html")
    page.write_text("the last good one")
    empty = Report(subject=Subject(kind="script", name="train.py", status="crashed"), findings=())
    monkeypatch.setattr(trainlint.scanning, "scan", Mock(side_effect=ScanError("it crashed", empty)))
    result = CliRunner().invoke(main, ["scan", "train.py"])
    assert result.exit_code == 2
    assert page.read_text() == "the last good one"
