"""Lines of the user's files in a report."""

from pathlib import Path

import pytest

from trainlint.finding import Finding, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.source import in_context, traceback_shown

SOURCE = "import torch\n\nfor epoch in range(3):\n    for x, y in loader:\n        loss.backward()\n\n        optimizer.zero_grad()\n\n\nprint(1)\n"


def finding(file: Path, line: int, text: str, outcome: Outcome = Outcome.FAIL) -> Finding:
    place = Location(str(file), line, "", text)
    return Finding(
        code="TL306", name="loop-order", stage=Stage.GRADIENTS, outcome=outcome, severity=Severity.ERROR, message="m", location=place
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SOURCE, "utf-8")
    return path


def test_a_failure_brings_the_lines_around_its_place(script: Path) -> None:
    (code,) = in_context(finding(script, 7, "optimizer.zero_grad()")).details
    assert (code.text, code.first_line, code.highlight) == ("loss.backward()\n\noptimizer.zero_grad()", 5, 7)


def test_nothing_is_shown_of_a_file_that_changed_or_of_what_did_not_fail(script: Path) -> None:
    assert not in_context(finding(script, 7, "optimizer.step()")).details
    assert not in_context(finding(script, 99, "x")).details
    assert not in_context(finding(script.with_name("gone.py"), 7, "x")).details
    assert not in_context(finding(script, 7, "optimizer.zero_grad()", Outcome.PASS)).details


def test_a_traceback_names_files_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = traceback_shown(f'Traceback:\n  File "{tmp_path}/train.py", line 3\nValueError: no\n')
    assert 'File "train.py", line 3' in code.text
    assert code.topic == "The crash"
    assert traceback_shown("") == ()
