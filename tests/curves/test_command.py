"""The command as a user has it: verdict and curve in the terminal, JSON of the documented form, HTML, a table for a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import trainlint
from trainlint.cli import main
from trainlint.curves.shapes import SHAPES


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["curves", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for name, loss in (
        ("good", lambda i: 0.3 + 2 * 0.85**i),
        ("dead", lambda i: 2.3026),
        ("gone", lambda i: 2 * 0.9**i if i < 20 else float("nan")),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "metrics.csv").write_text("epoch,loss\n" + "\n".join(f"{i},{loss(i)}" for i in range(40)))
    (folder / "notes.txt").write_text("nothing here\n")
    return folder


def test_the_json_has_the_documented_form(runs: Path) -> None:
    found = json.loads(call(runs / "good" / "metrics.csv", "--format", "json"))
    assert found["schema"] == 1
    assert found["file"].endswith("metrics.csv")
    assert found["format"] == "csv"
    (run,) = found["runs"]
    assert set(run) == {"name", "shape", "also", "evidence", "first_action", "columns"}
    assert run["shape"] == "healthy"
    assert run["columns"] == {"train": "loss", "val": None, "metric": None, "lr": None}


def test_several_files_are_a_list_and_the_exit_code_tells_of_broken_ones(runs: Path) -> None:
    found = json.loads(call(runs / "good" / "metrics.csv", runs / "dead" / "metrics.csv", "--format", "json", code=1))
    assert [log["runs"][0]["shape"] for log in found] == ["healthy", "broken"]
    call(runs / "dead" / "metrics.csv", "--fail-on", "never")


def test_the_terminal_shows_verdict_curve_and_first_action(runs: Path) -> None:
    shown = call(runs / "gone" / "metrics.csv", code=1)
    assert "diverged" in shown
    assert "█" in shown
    assert "×" in shown
    assert "not finite from here, epoch 20" in shown
    assert SHAPES["diverged"].first_action[:40] in shown


def test_a_folder_is_a_table_the_most_broken_first(runs: Path, tmp_path: Path) -> None:
    for i in range(5):
        (runs / f"more{i}.csv").write_bytes((runs / "good" / "metrics.csv").read_bytes())
    shown = call(runs, code=1)
    table = shown[shown.index("Shape") :]
    assert table.index("diverged") < table.index("broken") < table.index("healthy")
    assert "1 without curves passed over" in shown


def test_a_folder_of_few_runs_is_a_table_and_the_same_files_by_name_are_cards(runs: Path) -> None:
    assert "What was seen" in call(runs, code=1)
    cards = call(*sorted(runs.glob("*/metrics.csv")), code=1)
    assert "What was seen" not in cards
    assert "not    a plateau: nothing was ever learned" in cards
    alone = call(runs / "good")
    assert "What was seen" not in alone
    assert "█" in alone


def test_the_html_report_holds_the_table_and_the_charts(runs: Path, tmp_path: Path) -> None:
    call(runs, "--html", tmp_path / "curves.html", code=1)
    page = (tmp_path / "curves.html").read_text()
    assert "the most broken first" in page
    assert page.count("<svg") >= 3
    assert "<script" not in page


def test_every_other_report_format_works_too(runs: Path) -> None:
    assert (
        "TL601"
        in call(runs / "dead" / "metrics.csv", "--format", "text", "--output", runs / "out.txt", code=1) + (runs / "out.txt").read_text()
    )


def test_reading_logs_needs_no_torch(runs: Path) -> None:
    code = f"import sys\nfrom trainlint.cli import main\ntry:\n    main(['curves', {str(runs / 'good' / 'metrics.csv')!r}])\nfinally:\n    assert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "healthy" in done.stdout


def test_columns_are_named_by_flags_and_unreadable_files_are_usage_errors(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("t,q\n" + "\n".join(f"{i},{2 * 0.9**i}" for i in range(30)))
    assert "name it with --train" in call(tmp_path / "odd.csv", code=2)
    assert "q" in json.loads(call(tmp_path / "odd.csv", "--train", "q", "--format", "json"))["runs"][0]["columns"]["train"]
    assert "no column 'z'" in call(tmp_path / "odd.csv", "--train", "z", code=2)
    (tmp_path / "empty.csv").touch()
    assert "it is empty" in call(tmp_path / "empty.csv", code=2)
    assert "it is empty" in call(tmp_path / "empty.csv", runs / "good" / "metrics.csv", code=2)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("train.py", "import torch\nlr = 0.1\nfor epoch in range(3):\n    print(f'loss {epoch}')\n", "`trainlint scan train.py` runs it"),
        ("train.ipynb", '{"cells": [{"source": "lr = 0.1"}]}', "`trainlint scan train.ipynb` runs it"),
        ("settings.toml", '[model]\nwidth = 64\nargs = ["a", 3]\n', "no column looks like a loss or a metric; there are: width,"),
        ("runs.csv", "model,lr,loss\n" + "".join(f"m{i},0.1,{i}\n" for i in range(9)), "rows are runs"),
    ],
)
def test_a_file_that_holds_no_curve_is_a_usage_error_where_it_is_the_only_one(name: str, text: str, said: str, runs: Path) -> None:
    given = runs / name
    given.write_text(text)
    assert said in call(given, code=2)
    assert "healthy" in call(runs, "--fail-on", "never")


def test_a_row_without_a_counter_is_a_line_of_the_file(tmp_path: Path) -> None:
    losses = [f"{2 * 0.9**i:.4f}" if i < 20 else "nan" for i in range(40)]
    (tmp_path / "plain.log").write_text("started\n\n" + "\n".join(f"loss {loss} lr 0.1" for loss in losses))
    shown = call(tmp_path / "plain.log", code=1)
    assert "from line 23 of the file on" in shown
    assert "not finite from here, line 23 of the file" in shown
    (tmp_path / "plain.csv").write_text("loss,lr\n\n" + "\n".join(f"{loss},0.1" for loss in losses))
    assert "from line 23 of the file on" in call(tmp_path / "plain.csv", code=1)
    assert "from point 21 of the run on" in trainlint.classify({"loss": [float(loss) for loss in losses]}).runs[0].summary


def test_the_page_of_a_log_leaves_out_what_belongs_to_a_scan(runs: Path, tmp_path: Path) -> None:
    for name, title in (("good", "No fault found"), ("dead", "1 error found")):
        call(runs / name / "metrics.csv", "--html", tmp_path / "page.html", "--fail-on", "never")
        page = (tmp_path / "page.html").read_text()
        assert title in page
        for foreign in ("no checks", "checks passed", "check passed", "whole check", "Stages of the check"):
            assert foreign not in page


def test_the_scaling_check_flags_the_run_off_the_line(tmp_path: Path) -> None:
    files = []
    for size, factor in ((10, 1), (100, 1), (1000, 1), (10_000, 0.3)):
        files.append(tmp_path / f"n{size}.csv")
        end = factor * 5 * size**-0.2
        files[-1].write_text("epoch,loss\n" + "\n".join(f"{i},{end * (1 + 3 * 0.7**i)}" for i in range(40)))
    shown = call(*files, "--sizes", "10,100,1000,10000")
    assert "far below" in shown
    assert "look for a leak" in shown
    assert "--sizes names 2 sizes for 4 runs" in call(*files, "--sizes", "1,2", code=2)
    told = [log["runs"][0]["scaling"]["verdict"] for log in json.loads(call(*files, "--sizes", "10,100,1000,10000", "--format", "json"))]
    assert told[-1] == "far below"


def test_classify_takes_paths_and_histories(runs: Path) -> None:
    history = {"loss": [2.3 * 0.8**i for i in range(20)], "val_loss": [1.0 + 0.02 * (i - 5) ** 2 for i in range(20)]}
    assert trainlint.classify(runs / "dead" / "metrics.csv").runs[0].shape == "broken"
    assert trainlint.classify(history).runs[0].shape == "overfit"
    assert trainlint.classify([{"loss": a, "val_loss": b} for a, b in zip(*history.values(), strict=True)]).runs[0].shape == "overfit"
    with pytest.raises(trainlint.UsageError, match="is no history"):
        trainlint.classify(3)
