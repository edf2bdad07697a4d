"""The five shipped scripts: clean as they are, and with their flag the fault that docs/examples.md names, first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from warm import warm_scan

ROOT = Path(__file__).parent.parent.parent
ROWS = re.findall(
    r"^\| `(\w+\.py)` \|[^|]*\| `(--bug [\w-]+)` \| TL\d+ \[([\w-]+)\]", (ROOT / "docs/examples.md").read_text("utf-8"), re.MULTILINE
)


def test_the_table_names_all_five() -> None:
    flagged = {path.name for path in ROOT.glob("examples/*.py") if "--bug" in path.read_text("utf-8")}
    assert {script for script, _, _ in ROWS} == flagged
    assert len(flagged) == 5


@pytest.mark.parametrize("script", [script for script, _, _ in ROWS])
def test_a_healthy_script_is_clean(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = warm_scan(ROOT / "examples" / script, monkeypatch)
    said = [f"{f['name']}: {f['message']}" for f in report["findings"] if f["verdict"] == "fail" and f["severity"] != "note"]
    assert said == []


@pytest.mark.parametrize(("script", "flag", "rule"), ROWS)
def test_the_planted_bug_comes_first(script: str, flag: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = warm_scan(ROOT / "examples" / script, monkeypatch, args=tuple(flag.split()))
    assert report["start_here"] is not None
    assert report["start_here"]["name"] == rule
