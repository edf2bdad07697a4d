"""What the report of a watched run says, from evidence made by hand."""

from __future__ import annotations

import pytest

from trainlint.evidence import Evidence
from trainlint.measurements import NonFinite, WatchedRun
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


def test_a_watch_that_saw_the_nan_sends_nobody_to_a_watch() -> None:
    history = History()
    for step in range(0, 400, 10):
        history.add({"step": float(step), "epoch": 1.0, "loss": 0.9 ** (step / 10) if step < 200 else float("nan"), "lr": 0.1})
    found = report(Evidence(), history, Settings(), name="train.py", command="python train.py", seconds=1.0, status="ended")["curve-shape"]
    assert found.failed
    assert found.fix is not None
    assert "Lower the learning rate" in found.fix.summary
    assert "trainlint watch" not in found.fix.summary
    evidence = Evidence()
    evidence.measurements["non_finite"] = NonFinite(steps=400, found=True, step=198, what="loss", growth=1.0)
    found = report(evidence, history, Settings(), name="train.py", command="python train.py", seconds=1.0, status="ended")["curve-shape"]
    assert found.fix is not None
    assert found.fix.summary == "Begin with non-finite, which tells of step 198, the first with such a value."
