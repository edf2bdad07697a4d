"""Edits of notebooks: shown by cell, written back with all else to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainlint.edits import make
from trainlint.edits.applying import plan, write
from trainlint.edits.reading import read_source
from trainlint.edits.source import EditError
from trainlint.finding import Edit, Finding, Fix, Outcome, Severity, Stage
from trainlint.location import Location
from trainlint.report import Report, Subject

CELLS = ["%matplotlib inline\nimport torch", "data = load()", "!nvidia-smi\nloader = torch.utils.data.DataLoader(data, batch_size=8)"]


def notebook(folder: Path, **layout: object) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "source": s.splitlines(keepends=True), "outputs": [{"text": "é"}]} for s in CELLS]
    path = folder / "train.ipynb"
    cells = [{"cell_type": "markdown", "source": "Title"}, *code]
    text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}, **{"indent": 1, "ensure_ascii": False, **layout})
    path.write_text(text + "\n", "utf-8")
    return path


def finding(path: Path, line: int = 2) -> Finding:
    place = Location(str(path), line, text="loader = torch.utils.data.DataLoader(data, batch_size=8)", cell=3)
    fix = Fix(summary="Shuffle.", edit=Edit(kind="shuffle-loader"))
    return Finding(
        code="TL210", name="shuffle", stage=Stage.DATA, outcome=Outcome.FAIL, severity=Severity.ERROR, message="m", location=place, fix=fix
    )


def test_the_diff_is_one_of_the_cell_in_ipythons_words(tmp_path: Path):
    path = notebook(tmp_path)
    diff = make(finding(path)).diff
    assert diff.startswith(f"--- {path} cell 3\n+++ {path} cell 3\n@@ -1,2 +1,2 @@\n !nvidia-smi\n-loader")
    assert "+loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)" in diff


@pytest.mark.parametrize("layout", [{}, {"indent": 2, "ensure_ascii": True}, {"indent": None}])
def test_writing_changes_the_one_line(layout: dict[str, object], tmp_path: Path):
    path = notebook(tmp_path, **layout)
    before = path.read_text("utf-8")
    report = Report(subject=Subject(kind="script", name=str(path)), findings=(finding(path),))
    write(plan(report, unsafe=True, explains={}))
    assert path.read_text("utf-8") == before.replace("batch_size=8)", "batch_size=8, shuffle=True)")


def test_a_layout_of_its_own_is_left_alone(tmp_path: Path):
    path = notebook(tmp_path, separators=(" , ", " : "))
    with pytest.raises(EditError, match="not laid out as notebooks are written"):
        read_source(path)
    assert "make the change by hand" in make(finding(path)).reason
