"""What a logger puts before a line changes nothing about what is read of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainlint.curves.classify import classify
from trainlint.curves.readers.prefix import message

PREFIXES = [
    "[2026-01-31 12:00:07] INFO ",
    "[2026-01-31 12:00:07,123][__main__][INFO] - ",
    "2026-01-31 12:00:07,123 - INFO - ",
    "2026-01-31 12:00:07,123 - my.trainer - INFO - ",
    "2026-01-31 12:00:07,123 [INFO] train.py:42: ",
    "2026-01-31 12:00:07.123 | INFO     | __main__:main:42 - ",
    "2026-01-31T12:00:07.123Z ",
    "2026-01-31T12:00:07+00:00 stdout F ",
    "01/31/2026 12:00:07 - INFO - __main__ -   ",
    "Jan 31 12:00:07 ",
    "[01/31 12:00:07 d2.utils.events]:  ",
    "I0131 12:00:07.123456 140234 train.py:42] ",
    "INFO:root:",
    "INFO:my.loop:",
    "INFO: ",
    "[INFO] ",
    "train.py:123 - INFO - ",
    "12:00:07 | ",
    "[12:00:07] INFO     ",
    "[2.5s] ",
    "[rank0]: ",
    "[Rank 3] ",
    "rank 0: ",
    "[rank0]:[2026-01-31 12:00:07,123] torch: [INFO] ",
    "[default0]:",
    "(TrainTrainable pid=1234) ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_only_the_message_is_left(prefix: str) -> None:
    for text in (
        "step 1500 | loss nan | lr 1.00e-02",
        "Epoch 3/60 - loss: 0.31",
        "[step 1500] loss 0.3",
        "train loss 0.3",
        "{'loss': 0.3}",
    ):
        assert message(prefix + text) == text


@pytest.mark.parametrize("text", ["step 1500 | loss {} | lr 0.01", "step: 1500, loss: {}", "Step 1500/3000 Loss {}", "step=1500 loss={}"])
@pytest.mark.parametrize("prefix", PREFIXES[:3])
def test_the_step_is_found_behind_a_prefix(prefix: str, text: str, tmp_path: Path) -> None:
    lines = [prefix + text.replace("1500", str(50 * i)).format(0.9**i if i < 30 else "nan") for i in range(60)]
    (tmp_path / "run.log").write_text("\n".join(lines))
    assert "from step 1500 on" in classify(tmp_path / "run.log").runs[0].summary


def test_a_printed_table_is_read_behind_a_prefix(tmp_path: Path) -> None:
    rows = ["epoch train_loss valid_loss", *(f"{i} {2 * 0.8**i + 0.2:.4f} {2 * 0.8**i + 0.3:.4f}" for i in range(20))]
    (tmp_path / "run.log").write_text("\n".join(f"[2026-01-31 12:00:07] INFO {row}" for row in rows))
    (run,) = classify(tmp_path / "run.log").runs
    assert (run.shape, run.columns["train"], run.columns["val"]) == ("healthy", "train_loss", "valid_loss")


@pytest.mark.parametrize(
    "line",
    [
        "step 5 loss 0.3", "12/60 loss 0.3", "[50/300] loss 0.3", "ERROR 0.31", "Error: 0.31, loss: 0.4", "rank: 0.53", "1500: loss 0.3", "-0.5",
        "train - loss 0.3", "val: loss 0.3", "loss: 0.5 - INFO: done",
    ],
)  # fmt: skip
def test_what_a_program_may_write_itself_stays(line: str) -> None:
    assert message(line) == line


def test_a_logger_that_names_the_split_stays() -> None:
    assert message("INFO:eval:loss 0.3") == "eval:loss 0.3"
    assert message("2026-01-31 12:00:07 INFO - val - loss 0.3") == "val - loss 0.3"


@given(st.text() | st.lists(st.sampled_from([*PREFIXES, "a.b", "[", "]", ":", "1", "-", "INFO", "x:1"]), max_size=60).map("".join))
def test_any_line_is_read(line: str) -> None:
    assert line.endswith(message(line))
