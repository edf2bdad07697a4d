"""Fixes that no replayed step can try: the script is run once more with their edits, and no file changes."""

from __future__ import annotations

import py_compile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scanned import HEALTHY, fingerprint, run

from trainlint.edits import with_diffs
from trainlint.finding import Edit, Finding, Fix, Outcome, Proof, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject
from trainlint.rerun import again

SCRIPT = "train = DataLoader(data, batch_size=8)\nmodel = None\n\nval = DataLoader(held, batch_size=8)\n"


def finding(path: Path, name: str = "shuffle", line: int = 1, **facts: object) -> Finding:
    (found,) = with_diffs([
        Finding(
            code="TL210", name=name, stage=Stage.DATA, outcome=Outcome.FAIL, severity=Severity.ERROR, message="it fails",
            location=Location(str(path), line), fix=Fix(summary="Shuffle.", edit=Edit(kind="shuffle-loader")),
        )
    ])  # fmt: skip
    return replace(found, **facts)


def report(*findings: Finding) -> Report:
    return Report(subject=Subject(kind="script", name="train.py"), findings=findings, start_here=findings[0])


class Runs:
    """Answers every run alike, and keeps what was asked."""

    def __init__(self, *answer: Finding, stopped: str | None = "") -> None:
        self.answer, self.stopped = answer, stopped
        self.asked: list[tuple[dict[Path, bytes], list[str]]] = []

    def __call__(self, files: dict[Path, bytes], rules: Sequence[str]) -> Report | str | None:
        self.asked.append((dict(files), list(rules)))
        if self.stopped is None:
            return None
        return self.stopped or Report(subject=Subject(kind="script", name="train.py"), findings=self.answer)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def answer(finding: Finding, outcome: Outcome, **facts: object) -> Finding:
    return replace(finding, outcome=outcome, message="order differs", **facts)


def test_the_edited_bytes_are_run_and_the_file_stays(script: Path) -> None:
    failed = finding(script)
    runs = Runs(answer(failed, Outcome.PASS))
    proof = again(report(failed), {}, runs)["shuffle"]
    ((files, rules),) = runs.asked
    assert files == {script: SCRIPT.replace("batch_size=8)", "batch_size=8, shuffle=True)", 1).encode()}
    assert (rules, script.read_text()) == (["shuffle"], SCRIPT)
    assert (proof.tried, proof.helped) == (True, True)
    assert proof.summary == "Run once more with this change, the script passes the check. order differs"


@pytest.mark.parametrize(
    ("outcome", "severity", "tried", "helped", "said"),
    [
        (Outcome.FAIL, Severity.ERROR, True, False, "still fails the check. order differs"),
        (Outcome.FAIL, Severity.NOTE, True, True, "is left with a note. order differs"),
        (Outcome.NOT_RUN, Severity.ERROR, False, False, "could not be judged: no loader"),
    ],
)
def test_what_the_rule_says_of_the_edited_script_decides(
    script: Path, outcome: Outcome, severity: Severity, tried: bool, helped: bool, said: str
) -> None:
    failed = finding(script)
    proof = again(report(failed), {}, Runs(answer(failed, outcome, severity=severity, reason="no loader")))["shuffle"]
    assert (proof.tried, proof.helped) == (tried, helped)
    assert proof.summary.endswith(said)


def test_a_change_that_breaks_the_script_did_not_help(script: Path) -> None:
    proof = again(report(finding(script)), {}, Runs(stopped="NameError: name 'held' is not defined"))["shuffle"]
    assert (proof.tried, proof.helped) == (True, False)
    assert "the script stopped: NameError" in proof.summary


def test_a_run_that_the_user_ended_says_nothing(script: Path) -> None:
    assert again(report(finding(script)), {}, Runs(stopped=None)) == {}


def test_of_two_changes_it_is_not_said_which_broke_the_script(script: Path) -> None:
    both = report(finding(script), finding(script, "eval-mode", 4))
    proofs = again(both, {}, Runs(stopped="NameError"))
    assert {name: proof.tried for name, proof in proofs.items()} == {"shuffle": False, "eval-mode": False}
    assert "with this change and that for eval-mode" in proofs["shuffle"].summary


def test_what_was_tried_by_replay_is_not_run_again(script: Path) -> None:
    runs = Runs()
    tried = finding(script, proof=Proof(helped=False, summary="No gain.", before=1.0, after=1.0))
    assert again(report(tried), {}, runs) == {}
    assert again(report(finding(script, severity=Severity.NOTE)), {}, runs) == {}
    assert again(report(finding(script, ignored=True)), {}, runs) == {}
    assert again(report(replace(finding(script), fix=Fix(summary="Think."))), {}, runs) == {}
    assert runs.asked == []


def test_a_rule_about_the_steps_is_settled_by_the_run_and_keeps_what_the_replay_measured(script: Path) -> None:
    tried = finding(script, "loop-order", proof=Proof(helped=False, summary="No gain.", before=1.0, after=1.0))
    proof = again(report(tried), {}, Runs(answer(tried, Outcome.PASS)))["loop-order"]
    assert proof.helped
    assert proof.summary.endswith("order differs In a replay: No gain.")
    assert (proof.before, proof.after) == (None, None), "numbers that hardly moved would speak against it"


MODULE = """
import torch

def evaluate(model, loader):
    hits = 0
    with torch.no_grad():
        for inputs, labels in loader:
            hits += (model(inputs).argmax(1) == labels).sum().item()
    return hits
"""


def test_an_edit_of_an_imported_module_is_tried_although_it_was_compiled_before(tmp_path: Path) -> None:
    (tmp_path / "validation.py").write_text(MODULE)
    py_compile.compile(str(tmp_path / "validation.py"))
    source = (
        HEALTHY[: HEALTHY.index("    model.eval()")].replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.1)")
        + "    evaluate(model, val_loader)\n"
    )
    (tmp_path / "train.py").write_text("")
    before = fingerprint(tmp_path)
    done, found = run(tmp_path, "from validation import evaluate" + source, "--select", "eval-mode", "--no-html")
    (failure,) = (f for f in found["findings"] if f["verdict"] == "fail")
    assert Path(failure["location"]["file"]).name == "validation.py", done.stderr
    assert failure["proof"]["helped"], failure["proof"]
    assert "Run once more with this change, the script passes the check" in failure["proof"]["summary"]
    after = fingerprint(tmp_path)
    assert {k: v for k, v in after.items() if k != "train.py"} == {k: v for k, v in before.items() if k != "train.py"}
