"""Known failures: kept by the text of their line, counted, and no reason to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trainlint.baseline import Baseline, mark, read_baseline, updated, write_baseline
from trainlint.cli import main
from trainlint.errors import UsageError
from trainlint.finding import Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject
from trainlint.serialise import to_json


def failure(
    code: str, name: str, line: int = 10, severity: Severity = Severity.ERROR, *, file: str = "train.py", text: str = ""
) -> Finding:
    place = Location(file, line, "main", text or f"{name}()")
    return Finding(
        code=code, name=name, stage=Stage(int(code[2])), outcome=Outcome.FAIL, severity=severity,
        message=f"{name} measured {line}", location=place, fix=Fix(summary="Mend it."),
    )  # fmt: skip


SHUFFLE, CLIP, LR = (
    failure("TL210", "shuffle"),
    failure("TL316", "grad-clip", 20),
    failure("TL401", "lr-range", 30, Severity.WARNING),
)


def report(*findings: Finding, name: str = "train.py", status: str = "recorded") -> Report:
    return Report(subject=Subject(kind="script", name=name, status=status), findings=findings, start_here=next(iter(findings), None))


def passed(finding: Finding) -> Finding:
    return replace(finding, outcome=Outcome.PASS, location=None, fix=None)


def known(*findings: Finding) -> Baseline:
    return updated(Baseline(Path()), report(*findings))


def test_a_known_failure_fails_nothing_wherever_its_line_has_moved_and_whatever_it_measures() -> None:
    moved = replace(SHUFFLE, message="other numbers", location=Location("train.py", 77, "other", "  shuffle()  "))
    shown = mark(report(moved, LR), known(SHUFFLE))
    assert [f.known for f in shown] == [True, False]
    assert shown
    assert shown.failing == ()
    assert shown.start_here is shown["lr-range"]
    assert replace(shown, fail_on="warning").failing == (LR,)


@pytest.mark.parametrize(
    "new",
    [
        failure("TL210", "shuffle", text="another_loader = DataLoader(data)"),
        failure("TL210", "shuffle", file="other.py"),
        failure("TL316", "grad-clip", text="shuffle()"),
    ],
    ids=["another line", "another file", "another rule"],
)
def test_a_failure_elsewhere_is_new(new: Finding) -> None:
    shown = mark(report(new), known(SHUFFLE))
    assert not shown[new.name].known
    assert not shown


def test_a_failure_that_became_worse_is_new_and_one_that_became_milder_is_not() -> None:
    assert not mark(report(replace(LR, severity=Severity.ERROR)), known(LR))["lr-range"].known
    assert mark(report(replace(SHUFFLE, severity=Severity.NOTE)), known(SHUFFLE))["shuffle"].known


def test_what_was_mended_is_told_but_not_what_could_not_be_judged() -> None:
    blocked = replace(LR, outcome=Outcome.BLOCKED, reason="blocked")
    shown = mark(report(passed(SHUFFLE), blocked), known(SHUFFLE, CLIP, LR))
    (note,) = shown.subject.notes
    assert "shuffle in train.py" in note
    assert "grad-clip" not in note
    assert "lr-range" not in note
    assert mark(shown, known(SHUFFLE, CLIP, LR)).subject.notes == shown.subject.notes


def test_an_update_takes_out_what_was_mended_and_leaves_other_scripts_and_unjudged_rules_alone() -> None:
    other = replace(SHUFFLE, location=Location("other.py", 3, "", "shuffle()"))
    before = updated(known(SHUFFLE, CLIP), report(other, name="other.py"))
    after = updated(before, report(passed(SHUFFLE), LR))
    assert sorted((k.script, k.name) for k in after.known) == [("other.py", "shuffle"), ("train.py", "grad-clip"), ("train.py", "lr-range")]


def test_paths_are_seen_from_the_baselines_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    inside = replace(SHUFFLE, location=Location("src/train.py", 1, "", "shuffle()"))
    write_baseline(tmp_path / "known.json", updated(Baseline(tmp_path), report(inside, name="src/train.py")))
    monkeypatch.chdir(tmp_path / "src")
    shown = mark(report(SHUFFLE), read_baseline(Path("../known.json")))
    assert shown["shuffle"].known


def test_the_file_holds_no_numbers_that_change_and_is_sorted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "known.json"
    write_baseline(path, known(LR, SHUFFLE))
    written = json.loads(path.read_text())
    assert [k["name"] for k in written["known"]] == ["shuffle", "lr-range"]
    assert set(written["known"][0]) == {"script", "code", "name", "severity", "file", "text"}
    assert read_baseline(path).known[0].text == "shuffle()"


def test_a_file_name_that_is_not_utf8_can_be_known(tmp_path: Path) -> None:
    odd = replace(SHUFFLE, location=Location("caf\udce9.py", 3, "", "shuffle()"))
    write_baseline(tmp_path / "known.json", updated(Baseline(tmp_path), report(odd, name="caf\udce9.py")))
    assert mark(report(odd, name="caf\udce9.py"), read_baseline(tmp_path / "known.json"))["shuffle"].known


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "known": [{}]}', '{"schema": 1, "known": 3}'])
def test_what_is_no_baseline_is_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "known.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"known\.json is (no|a) baseline"):
        read_baseline(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_commands_write_it_read_it_and_bring_it_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text(to_json(report(SHUFFLE, CLIP)))
    Path("new.json").write_text(to_json(report(passed(SHUFFLE), CLIP, failure("TL103", "output-activation"))))
    written = run("baseline", "old.json")
    assert (written.exit_code, "+ shuffle in train.py" in written.output) == (0, True)
    assert "trainlint-baseline.json: 2 known (2 added, 0 taken out)" in written.output

    same = run("view", "old.json", "--baseline", "trainlint-baseline.json", "--fail-on", "note")
    assert same.exit_code == 0
    assert "Nothing new found" in same.output
    assert "= TL210 shuffle  train.py:10: shuffle measured 10" in same.output

    newer = run("view", "new.json", "--baseline", "trainlint-baseline.json", "--fail-on", "error")
    assert newer.exit_code == 1
    assert "train.py:10: error TL103 output-activation" in newer.output
    assert "The baseline lists what was not found any more: shuffle in train.py" in newer.output

    again = run("baseline", "new.json")
    assert "+ output-activation in train.py" in again.output
    assert "- shuffle in train.py" in again.output
    assert run("view", "new.json", "--baseline", "trainlint-baseline.json", "--fail-on", "note").exit_code == 0


def test_a_baseline_that_is_not_there_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    result = run("scan", str(tmp_path / "train.py"), "--baseline", str(tmp_path / "none.json"))
    assert result.exit_code == 2
    assert "trainlint baseline" in result.output


TRAIN = """
import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(8):
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
"""


def test_a_script_is_scanned_into_the_projects_baseline_and_passes_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "pyproject.toml").write_text('[tool.trainlint]\nbaseline = "known.json"\nselect = ["gradient-accumulation"]\n')

    def trainlint(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trainlint", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200
        )

    assert trainlint("baseline", "train.py").returncode == 0
    (tmp_path / "train.py").write_text(f"# a line above\n{TRAIN}")
    done = trainlint("scan", "train.py", "--fail-on", "note", "--no-html", "--no-proof")
    assert done.returncode == 0, done.stderr
    assert "1 known" in done.stdout
