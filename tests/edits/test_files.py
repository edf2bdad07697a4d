"""Files of every sort: the edit changes its lines and nothing else, or nothing at all."""

import codecs
import os
import subprocess
from pathlib import Path

import pytest

from trainlint.edits import make, with_diffs
from trainlint.edits.applying import check, plan, project_root, restore, write
from trainlint.edits.reading import read_source
from trainlint.edits.source import EditError
from trainlint.finding import Edit, Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject

SCRIPT = "import torch\n\nloader = DataLoader(data, batch_size=8)\nout = 'ä'\n"
SHUFFLED = SCRIPT.replace("batch_size=8", "batch_size=8, shuffle=True")


def finding(path: Path, kind: str = "shuffle-loader", line: int = 3, name: str = "shuffle", text: str = "", **more: object) -> Finding:
    return Finding(
        code="TL210", name=name, stage=Stage.DATA, outcome=Outcome.FAIL, severity=more.pop("severity", Severity.ERROR), message="it fails",
        location=Location(str(path), line, "", text), fix=Fix(summary="Shuffle.", edit=Edit(kind=kind, values=more)),
    )  # fmt: skip


def report(*findings: Finding) -> Report:
    return Report(subject=Subject(kind="script", name="train.py"), findings=findings, start_here=findings[0])


def apply(path: Path, root: Path | None = None, *, allow_dirty: bool = True) -> dict[Path, bytes]:
    planned = plan(report(finding(path)), unsafe=False, explains={})
    assert planned.chosen, planned.left
    check(planned.files, root or path.parent, allow_dirty=allow_dirty)
    return write(planned)


@pytest.mark.parametrize(
    "raw",
    [
        SCRIPT.encode(),
        SCRIPT.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF8 + SCRIPT.encode(),
        SCRIPT.rstrip("\n").encode(),
        SCRIPT.replace("import torch\n\n", "import torch\nif data:\n\t").encode(),
        SCRIPT.replace("import torch", "# -*- coding: latin-1 -*-").encode("latin-1"),
        SCRIPT.replace("\n\n", "  \n\x0c\n", 1).encode(),
    ],
    ids=["plain", "crlf", "bom", "no-last-line-feed", "tab", "latin-1", "form-feed"],
)
def test_all_other_bytes_stay(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(raw)
    apply(path)
    assert path.read_bytes() == raw.replace(b"batch_size=8", b"batch_size=8, shuffle=True")


def test_the_file_keeps_its_permissions_and_can_be_put_back(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, "utf-8")
    path.chmod(0o750)
    before = apply(path)
    assert path.stat().st_mode & 0o777 == 0o750
    restore(before)
    assert path.read_text("utf-8") == SCRIPT
    assert os.listdir(tmp_path) == ["train.py"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (SCRIPT.encode("latin-1"), "not text in its encoding"),
        (b"print 'old'\nx = 1\nloader = DataLoader(data)\n", "cannot be parsed"),
        (b"x = 1\n", "not what was scanned"),
    ],
)
def test_a_file_that_cannot_be_edited_says_why(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(raw)
    made = make(finding(path))
    assert said in made.reason
    assert made.source is None
    assert path.read_bytes() == raw


def test_a_line_that_has_changed_since_is_left(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, "utf-8")
    assert "not what was scanned" in make(finding(path, text="loader = DataLoader(old)")).reason


def test_a_missing_file_and_an_unknown_kind_are_no_errors(tmp_path: Path) -> None:
    assert "cannot be read" in make(finding(tmp_path / "gone.py")).reason
    (tmp_path / "train.py").write_text(SCRIPT, "utf-8")
    assert "does not know" in make(finding(tmp_path / "train.py", kind="no-such")).reason


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "train.py").symlink_to(tmp_path / "real.py")
    with pytest.raises(EditError, match="symbolic link"):
        apply(tmp_path / "train.py")
    assert (tmp_path / "real.py").read_text("utf-8") == SCRIPT


@pytest.mark.parametrize("folder", ["outside", "project/env/lib/site-packages/pkg"])
def test_a_file_that_is_not_the_projects_is_refused(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "train.py"
    path.parent.mkdir(parents=True)
    path.write_text(SCRIPT, "utf-8")
    with pytest.raises(EditError, match="does not belong"):
        apply(path, tmp_path / "project")


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, "utf-8")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write whatever the mode says
    with pytest.raises(EditError, match="read-only"):
        apply(path)


def test_a_file_changed_after_reading_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, "utf-8")
    planned = plan(report(finding(path)), unsafe=False, explains={})
    path.write_text(SCRIPT + "# mine\n", "utf-8")
    with pytest.raises(EditError, match="has changed"):
        write(planned)
    assert path.read_text("utf-8").endswith("# mine\n")


def test_files_that_git_does_not_hold_are_no_changes(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "trainlint-report.html").touch()
    check([], tmp_path, allow_dirty=False)


def test_uncommitted_changes_are_refused_unless_told(tmp_path: Path) -> None:
    def git(*args: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *args], check=True, capture_output=True)

    path = tmp_path / "src" / "train.py"
    path.parent.mkdir()
    path.write_text(SCRIPT, "utf-8")
    git("init")
    assert project_root(path) == tmp_path
    with pytest.raises(EditError, match="not committed"):
        apply(path, tmp_path, allow_dirty=False)
    git("add", ".")
    git("commit", "-m", "one")
    (tmp_path / "report.html").write_text("untracked files of others do not matter", "utf-8")
    apply(path, tmp_path, allow_dirty=False)
    with pytest.raises(EditError, match=r"src/train\.py"):
        check([path], tmp_path, allow_dirty=False)
    check([path], tmp_path, allow_dirty=True)


def test_edits_of_one_file_are_made_together_and_meeting_ones_left(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("import torch\nx = F.relu(y).detach()\n\nloader = DataLoader(data)\n", "utf-8")
    first = finding(path, line=4)
    second = finding(path, "keep-gradients", 2, "no-gradient", cut="detach")
    third = finding(path, "drop-last", 4, "last-batch")
    planned = plan(report(first, second, third), unsafe=True, explains={})
    assert [m.finding.name for m in planned.chosen] == ["shuffle", "no-gradient"]
    assert [(f.name, why) for f, why in planned.left] == [
        ("last-batch", "its lines are changed by another edit; scan again after this one")
    ]
    write(planned)
    assert path.read_text("utf-8") == "import torch\nx = F.relu(y)\n\nloader = DataLoader(data, shuffle=True)\n"


def test_what_needs_review_and_what_is_explained_is_left(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("import torch\nx = F.relu(y).detach()\n\nloader = DataLoader(data)\n", "utf-8")
    cause = finding(path, line=4)
    symptom = finding(path, "keep-gradients", 2, "no-gradient", cut="detach")
    assert "--unsafe-fixes" in plan(report(cause, symptom), unsafe=False, explains={}).left[0][1]
    assert "may come of shuffle" in plan(report(cause, symptom), unsafe=True, explains={"shuffle": ("no-gradient",)}).left[0][1]


def test_findings_get_their_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT, "utf-8")
    (done,) = with_diffs([finding(Path("train.py"))])
    assert done.fix is not None
    assert done.fix.safe
    assert done.fix.diff == (
        "--- train.py\n+++ train.py\n@@ -1,4 +1,4 @@\n import torch\n \n-loader = DataLoader(data, batch_size=8)\n"
        "+loader = DataLoader(data, batch_size=8, shuffle=True)\n out = 'ä'\n"
    )
    subprocess.run(["git", "apply", "-p0"], input=done.fix.diff.encode(), check=True, cwd=tmp_path)
    assert Path("train.py").read_text("utf-8") == SHUFFLED


def test_the_encoding_must_hold_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(b"# coding: ascii\nx = 1\n")
    source = read_source(path)
    with pytest.raises(EditError, match="cannot hold"):
        source.encode("ä")
