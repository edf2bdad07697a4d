"""Two reports compared, in Python and on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainlint.cli import main
from trainlint.comparison import compare_reports
from trainlint.finding import Finding, Outcome, Severity, Stage
from trainlint.report import Report, Subject
from trainlint.serialise import to_json


def finding(name: str, outcome: Outcome, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(code="TL999", name=name, stage=Stage.WIRING, outcome=outcome, severity=severity, message=f"{name} says so.")


def report(*findings: Finding) -> Report:
    return Report(subject=Subject(kind="script", name="train.py"), findings=findings)


FAIL, PASS = Outcome.FAIL, Outcome.PASS
BEFORE = report(finding("mended", FAIL), finding("kept", FAIL), finding("fine", PASS), finding("milder", FAIL), finding("unjudged", FAIL))
AFTER = report(
    finding("mended", PASS), finding("kept", FAIL), finding("fine", PASS), finding("milder", FAIL, Severity.WARNING),
    finding("unjudged", Outcome.BLOCKED), finding("fresh", FAIL),
)  # fmt: skip


def test_each_rule_that_failed_is_told_with_what_became_of_it():
    assert {c.name: c.kind for c in compare_reports(BEFORE, AFTER)} == {
        "fresh": "new", "kept": "same", "milder": "better", "unjudged": "gone", "mended": "fixed",
    }  # fmt: skip
    assert compare_reports(BEFORE, AFTER)[0].kind == "new"


def test_a_report_against_itself_has_nothing_new():
    assert {c.kind for c in compare_reports(AFTER, AFTER)} == {"same"}
    assert compare_reports(report(), report()) == ()


@pytest.mark.parametrize(("first", "second", "status"), [(BEFORE, AFTER, 1), (AFTER, BEFORE, 1), (AFTER, AFTER, 0)])
def test_the_exit_code_is_1_for_a_new_error_only(tmp_path: Path, first: Report, second: Report, status: int):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(to_json(first))
    new.write_text(to_json(second))
    shown = CliRunner().invoke(main, ["diff", str(old), str(new)])
    assert shown.exit_code == status
    assert "still fails" in shown.output
    assert "kept says so." in shown.output
    listed = json.loads(CliRunner().invoke(main, ["diff", str(old), str(new), "--format", "json"]).output)
    assert {c["name"] for c in listed} >= {"kept"}


def test_a_new_warning_does_not_fail_unless_asked(tmp_path: Path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(to_json(report()))
    new.write_text(to_json(report(replace(finding("mild", FAIL), severity=Severity.WARNING))))
    assert CliRunner().invoke(main, ["diff", str(old), str(new)]).exit_code == 0
    assert CliRunner().invoke(main, ["diff", str(old), str(new), "--fail-on", "warning"]).exit_code == 1


def test_what_is_no_report_is_named(tmp_path: Path):
    odd = tmp_path / "odd.json"
    odd.write_text("[1, 2")
    shown = CliRunner().invoke(main, ["diff", str(odd), str(odd)])
    assert shown.exit_code == 2
    assert "odd.json" in shown.output
