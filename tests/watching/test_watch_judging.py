"""What the report of a watched run says, from evidence made by hand."""

from __future__ import annotations

import pytest

from trainlint.evidence import Evidence
from trainlint.measurements import WatchedRun
from trainlint.settings import Settings
from trainlint.watching.history import History
from trainlint.watching.judging import report


@pytest.mark.parametrize(
    ("steps", "epochs", "said"),
    [(1, 1, "watched 1 step and 1 whole training pass"), (40, 2, "watched 40 steps and 2 whole training passes")],
)
def test_steps_and_passes_are_counted_in_words_that_fit(steps: int, epochs: int, said: str) -> None:
    evidence = Evidence()
    evidence.measurements["watched_run"] = WatchedRun(steps=steps, epochs=epochs)
    made = report(evidence, History(), Settings(), name="train.py", command="python train.py", seconds=1.0, status="ended")
    assert said in made.subject.notes
