"""The GitHub Action's scan step, run by the shell as a runner would, with a stand-in for the command that writes down its arguments."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

ACTION = (Path(__file__).parent.parent.parent / "action.yml").read_text("utf-8")
(_, STEP) = (textwrap.dedent(block) for block in re.findall(r"^      run: (?:\|\n)?(.*?)(?=^    - |\Z)", ACTION, re.DOTALL | re.MULTILINE))


def scan(tmp_path: Path, **inputs: str) -> tuple[int, list[str]]:
    command = tmp_path / "trainlint"
    command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase "$2" in bad*) exit 1;; none*) exit 2;; esac\n')
    command.chmod(0o755)
    given = {"SCRIPTS": "", "FAIL_ON": "", "BUDGET": "", "REPORT": "out", **inputs}
    environment = {**os.environ, **given, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEP], env=environment, cwd=tmp_path, check=False)
    return done.returncode, (tmp_path / "calls").read_text().splitlines()


def test_the_projects_settings_hold_unless_the_job_says_otherwise(tmp_path: Path) -> None:
    code, (call,) = scan(tmp_path, SCRIPTS="train.py --epochs 3\n")
    assert code == 0
    assert call == "scan train.py --html out/train.html --format json --output out/train.json -- --epochs 3"
    _, calls = scan(tmp_path, SCRIPTS="train.py", FAIL_ON="warning", BUDGET="60s")
    assert "--fail-on warning --budget 60s" in calls[-1]


def test_each_script_has_reports_of_its_own_and_the_worst_exit_code_counts(tmp_path: Path) -> None:
    code, calls = scan(tmp_path, SCRIPTS="a/train.py\n\nbad.py\nb/train.py\n")
    assert code == 1
    assert [re.findall(r"--html (\S+)", call)[0] for call in calls] == ["out/a-train.html", "out/bad.html", "out/b-train.html"]
    assert scan(tmp_path, SCRIPTS="none.py\nbad.py")[0] == 2
