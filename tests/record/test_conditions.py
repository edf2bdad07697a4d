"""Whether a call depends on how far the script is, read off the source of the running functions."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = """
from trainlint.record.conditions import called_sometimes
from trainlint.record.frames import Frames
class Scheduler:
    def step(self): pass
scheduler, other, frames = Scheduler(), None, Frames()
def train(batches):
    for batch in batches:
        print(called_sometimes(frames, scheduler, "step"))
for epoch in range(1):
    train([0])
{code}
"""


@pytest.mark.parametrize(
    ("code", "sometimes"),
    [
        ("    if epoch >= 10:\n        scheduler.step()", True),
        ("    if epoch > 15:\n        pass\n    else:\n        scheduler.step()", True),
        ("    scheduler.step()", False),
        ("    if scheduler is not None:\n        scheduler.step()", False),
        ("    if epoch >= 10:\n        other.step()", False),
        ("if scheduler is not None:\n    scheduler.step()", False),
    ],
)
def test_a_condition_on_what_the_loop_changes_counts(code: str, sometimes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(code=code))
    runpy.run_path(str(script))
    assert capsys.readouterr().out.split() == [str(sometimes)]
