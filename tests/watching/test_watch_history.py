from __future__ import annotations

import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trainlint.watching.history import History, read_history


@given(st.lists(st.floats(width=32), max_size=30))
def test_a_history_is_read_as_it_was_written_and_is_json_throughout(tmp_path_factory, losses: list[float]) -> None:
    path: Path = tmp_path_factory.mktemp("h") / "history.jsonl"
    history = History(path)
    for step, loss in enumerate(losses):
        history.add({"step": step, "loss": loss})
    history.close()
    lines = path.read_text().splitlines()
    assert all(json.loads(line, parse_constant=lambda word: 1 / 0) for line in lines)
    again = read_history(lines).rows
    assert len(again) == len(losses)
    for row, loss in zip(again, losses, strict=True):
        assert math.isclose(row["loss"], loss, rel_tol=1e-5) or math.isnan(row["loss"]) == math.isnan(loss)


def test_memory_is_bounded_and_validation_is_kept() -> None:
    history = History()
    for step in range(30_000):
        history.add({"step": step, "loss": 1.0})
        if step % 1000 == 0:
            history.add({"step": step, "val_loss": 2.0})
    assert len(history.rows) <= 4001
    assert len(history.validation) == 30


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert len(read_history(['{"step": 1, "loss": 2.0}', '{"step": 2, "lo']).rows) == 1
