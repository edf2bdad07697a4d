"""A saved report, shown again in any format; and which file a format goes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trainlint.cli import main
from trainlint.finding import Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject
from trainlint.serialise import to_json

FOUND = Finding(
    code="TL210", name="shuffle", stage=Stage.DATA, outcome=Outcome.FAIL, severity=Severity.WARNING, message="Sorted.",
    location=Location("train.py", 3, "", "loader = DataLoader(data)"), fix=Fix(summary="Shuffle."),
)  # fmt: skip
REPORT = Report(subject=Subject(kind="script", name="train.py"), findings=(FOUND,), start_here=FOUND, version="0.1.0")


@pytest.fixture(autouse=True)
def _saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.json").write_text(to_json(REPORT))


def view(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["view", "report.json", *arguments])


def test_it_shows_the_text_and_fails_only_when_asked_to() -> None:
    shown = view()
    assert shown.exit_code == 0
    assert "train.py:3: warning TL210 shuffle" in shown.output
    assert view("--fail-on", "error").exit_code == 0
    assert view("--fail-on", "warning").exit_code == 1


def test_each_format_goes_to_the_file_named_after_it() -> None:
    done = view(
        "--format", "sarif", "--output", "a.sarif", "--format", "junit", "--output", "b/c.xml", "--format", "github", "--output", "-"
    )
    assert done.exit_code == 0
    assert json.loads(Path("a.sarif").read_text())["version"] == "2.1.0"
    assert Path("b/c.xml").read_text().startswith("<?xml")
    assert "::warning file=train.py,line=3,title=TL210 shuffle::Sorted." in done.output


def test_a_file_alone_is_written_as_its_ending_says() -> None:
    view("--output", "a.md", "--output", "b.json")
    assert Path("a.md").read_text().startswith("<!-- trainlint -->")
    assert json.loads(Path("b.json").read_text()) == json.loads(to_json(REPORT))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "text", "--format", "json", "--output", "a.json"], "give each --format its own --output"),
        (["--format", "text", "--format", "json"], "only one report can go to stdout"),
        (["--format", "pdf"], "there is no format 'pdf'; installed: github, html, json, junit, markdown, sarif, text"),
    ],
)
def test_what_is_not_clear_is_refused(arguments: list[str], message: str) -> None:
    done = view(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_it_needs_no_torch() -> None:
    code = "import sys\nfrom trainlint.cli import main\ntry:\n    main(['view', 'report.json', '--format', 'sarif'])\nfinally:\n    assert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_no_report_is_named() -> None:
    Path("report.json").write_text("{}")
    done = view()
    assert done.exit_code == 2
    assert "report.json: not a trainlint report" in done.output


def test_fail_on_reaches_the_formats_that_count_failures() -> None:
    view("--fail-on", "warning", "--output", "a.xml")
    assert 'failures="1"' in Path("a.xml").read_text()
    view("--output", "a.xml")
    assert 'failures="0"' in Path("a.xml").read_text()
