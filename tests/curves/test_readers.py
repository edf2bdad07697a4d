"""Every format is told by its content and gives the same curves; what stands between the numbers does not matter."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from events import log as event_log

from trainlint.curves.classify import classify
from trainlint.curves.log import number
from trainlint.curves.readers import read_log
from trainlint.curves.runs import runs_of

N = 12
TRAIN = [2.0 * 0.7**i + 0.2 for i in range(N)]
VAL = [2.1 * 0.72**i + 0.3 for i in range(N)]
ROWS = list(zip(range(N), TRAIN, VAL, strict=True))


def table(header: str, delimiter: str = ",", end: str = "\n") -> str:
    return end.join([header, *(delimiter.join(f"{cell:.6g}" for cell in row) for row in ROWS)]) + end


def sparse() -> str:
    lines = ["epoch,step,train_loss,val_loss"]
    for e, t, v in ROWS:
        lines += [f"{e},{10 * e + 9},{t:.6g},", f"{e},{10 * e + 9},,{v:.6g}"]
    return "\n".join(lines)


FORMATS = {
    "keras-csv": table("epoch,loss,val_loss"),
    "fastai-csv": table("epoch,train_loss,valid_loss"),
    "timm-csv": table("epoch,train_loss,eval_loss"),
    "lightning-csv": sparse(),
    "tsv": table("epoch\ttrain_loss\ttest_loss", "\t"),
    "csv": table("epoch;Train Loss;Test Loss", ";").replace(".", ","),
    "csv-without-header": "\n".join(f"{e},{t},{v}" for e, t, v in ROWS),
    "ultralytics-csv": table("                  epoch,         train/box_loss,           val/box_loss"),
    "wandb-csv": '"Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX","a - val/loss","a - val/loss__MIN","a - val/loss__MAX"\n'
    + "\n".join(",".join(f'"{c}"' for c in (e, t, t, t, v, v, v)) for e, t, v in ROWS),
    "hf-trainer-state": json.dumps({"log_history": [r for e, t, v in ROWS for r in ({"loss": t, "step": e}, {"eval_loss": v, "step": e})] + [{"train_loss": 1.0, "step": N}]}, indent=1),
    "json": json.dumps({"history": {"loss": TRAIN, "val_loss": VAL}}, indent=1),
    "json-lines": "\n".join(json.dumps({"epoch": e, "train_loss": t, "test_loss": v}) for e, t, v in ROWS),
    "text-table": "Total time: 06:39\nepoch  train_loss  valid_loss  error_rate\n" + "\n".join(f"{e}      {t:.6f}    {v:.6f}    0.5    (00:13)" for e, t, v in ROWS),
    "text": "\n".join(f"Epoch {e + 1}/{N}\n50000/50000 [====] - 455s 9ms/step - loss: {t:.6g} - acc: 0.5 - val_loss: {v:.6g}\nEpoch 000{e}: val_loss did not improve from 0.1" for e, t, v in ROWS),
}  # fmt: skip
#: Other ways of writing text that must come out the same.
TEXTS = {
    "split before": "\n".join(f"run-50 - Epoch {e}/9\n---\nlr: [0.1]\ntrain Loss: {t:.6g} Top-1 Acc: 4.8\ntest Loss: {v:.6g} Top-1 Acc: 4.1" for e, t, v in ROWS),
    "name, number": "\n".join(f"epoch {e}, phase train, loss_train, {t:.6g}\nepoch {e} | val_loss: {v:.6g}" for e, t, v in ROWS),
    "heading and next line": "\n".join(f"* Training epoch {e}:\n-> time: 85.2s, loss = {t:.6g}\n* Validation for epoch {e}:\n-> time: 3.0s, loss: {v:.6g}" for e, t, v in ROWS),
    "no word loss": "\n".join(f"Epoch {e:03}: train={t:.6g} valid={v:.6g} best=0.1 duration=0.5 hrs" for e, t, v in ROWS),
    "number first": "\n".join(f"{t:.6g} train loss, {v:.6g} val loss" for _, t, v in ROWS),
    "dicts": "\n".join(f"{{'loss': {t:.6g}, 'grad_norm': nan, 'epoch': {e}}}\n{{'eval_loss': {v:.6g}, 'epoch': {e}}}" for e, t, v in ROWS),
    "json after a prefix": "\n".join(f'stats: {{"epoch": {e}, "loss": {t:.6g}, "test_loss": {v:.6g}, "step_sizes": [60, 120]}}\t' for e, t, v in ROWS),
    "bars and colours": "\n".join(f"\r 50%|██  | 1/2 [00:01<00:01, loss=9.9]\rEpoch {e}: 100%|\x1b[32m████\x1b[0m| 2/2 [00:02<00:00, 3.1it/s, train_loss={t:.6g}, val_loss={v:.6g}]" for e, t, v in ROWS),
    "abbreviated": "\n".join(f"s:{e} trl:{t:.6g}\ns:{e} tel:{v:.6g}" for e, t, v in ROWS),
}  # fmt: skip


def close(values, wanted) -> bool:
    return len(values) == len(wanted) and all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(values, wanted, strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_told_by_its_content(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log.dat"
    path.write_text(FORMATS[form])
    log = read_log(path)
    (run,) = runs_of(log)
    assert log.format == form
    assert close(run.train.y, TRAIN)
    assert close(run.val.y, VAL)


@pytest.mark.parametrize("form", TEXTS)
def test_text_is_read_however_it_is_written(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(TEXTS[form], newline="")
    (run,) = runs_of(read_log(path))
    assert close(run.train.y, TRAIN)
    assert close(run.val.y, VAL)


def test_event_files_of_both_versions_are_read_and_pictures_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(event_log(N))
    log = read_log(path)
    (run,) = runs_of(log)
    assert log.format == "tensorboard"
    assert close(run.train.y, TRAIN)
    assert close(run.val.y, VAL)
    assert list(run.val.x) == list(range(N))
    assert "12 values that are no scalars" in log.notes[0]


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\r\r\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("utf-8", "\n\n")])
def test_line_ends_and_encodings_do_not_matter(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(table("epoch,loss,val_loss", end=end).encode(encoding))
    assert close(runs_of(read_log(path))[0].train.y, TRAIN)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0.5", 0.5),
        (" 12.3% ", 12.3),
        ("-inf", -math.inf),
        ("1e18", 1e18),
        ("[0.001]", 0.001),
        ("tensor(0.25, device='cuda:0')", 0.25),
        ("0,5", 0.5),
        ('"3"', 3.0),
    ],
)
def test_numbers_in_the_forms_that_logs_have(cell: str, value: float) -> None:
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["", "None", "abc", "0.56G", "1/2", "12:30", "[", "tensor(", "9" * 100])
def test_what_is_no_number(cell: str) -> None:
    assert number(cell) is None


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parts_are_summed_and_a_total_is_taken_alone(tmp_path: Path) -> None:
    parts = write(
        tmp_path / "a.csv", "epoch,train/box_loss,train/cls_loss,val/box_loss,val/cls_loss\n" + "\n".join(f"{i},1,2,3,4" for i in range(5))
    )
    total = write(
        tmp_path / "b.jsonl", "\n".join(json.dumps({"iteration": i, "loss_cls": 1, "loss_box": 2, "total_loss": 3.5}) for i in range(5))
    )
    assert classify(parts).runs[0].columns["val"] == "val/box_loss+val/cls_loss"
    assert runs_of(read_log(parts))[0].val.y[0] == 7
    assert classify(total).runs[0].columns["train"] == "total_loss"


def test_several_validation_sets_are_averaged(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": 1.0} for i in range(5)] + [{"step": i, "eval_a_loss": 1.0, "eval_b_loss": 3.0} for i in range(5)]
    path = write(tmp_path / "a.json", json.dumps({"log_history": rows}))
    assert runs_of(read_log(path))[0].val.y[0] == 2


def test_appended_runs_are_told_apart_and_resumed_ones_joined(tmp_path: Path) -> None:
    appended = write(tmp_path / "a.csv", "epoch,loss\n" + "\n".join(f"{i},{1 / (i + 1)}" for _ in range(3) for i in range(6)))
    assert [run.name for run in runs_of(read_log(appended))] == ["run 1", "run 2", "run 3"]
    resumed = write(
        tmp_path / "b.csv", "epoch,loss\n" + "\n".join(f"{i},{k}" for k, span in enumerate((range(6), range(4, 10))) for i in span)
    )
    (run,) = runs_of(read_log(resumed))
    assert list(run.train.x) == list(range(10))
    assert list(run.train.y) == [0] * 4 + [1] * 6
    assert "resumed 1 time" in run.notes[0]


def test_runs_named_by_a_column_are_told_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "model,epoch,loss\n" + "\n".join(f"{name},{i},{k}" for i in range(5) for k, name in enumerate(("small", "large"))),
    )
    assert [(run.name, run.train.y[0]) for run in runs_of(read_log(path))] == [("small", 0), ("large", 1)]


def test_a_table_of_runs_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "Name,State,Runtime,train/loss,val/loss\n" + "\n".join(f"run{i},finished,100,0.{i},0.{i}" for i in range(1, 9))
    )
    (run,) = classify(path).runs
    assert run.shape == "not-a-curve"
    assert "rows are runs" in run.summary


def test_long_tables_become_wide(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "key,value,step\n" + "\n".join(f"{k},{v},{i}" for i in range(5) for k, v in (("train_loss", 1), ("val_loss", 2))),
    )
    assert classify(path).runs[0].columns == {"train": "train_loss", "val": "val_loss", "metric": None, "lr": None}
    mode = write(
        tmp_path / "b.jsonl",
        "\n".join(json.dumps({"mode": m, "epoch": i, "loss": v}) for i in range(5) for m, v in (("train", 1), ("val", 2))),
    )
    assert classify(mode).runs[0].columns["val"] == "val loss"


def test_columns_can_be_named_and_a_wrong_name_lists_what_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "t,a,b\n" + "\n".join(f"{i},{i},{i}" for i in range(5)))
    assert "--train" in classify(path).runs[0].summary
    assert "t, a, b" in classify(path).runs[0].summary
    assert classify(path, train="a+b").runs[0].columns["train"] == "a+b"
    with pytest.raises(Exception, match="no column 'z'; it has: t, a, b"):
        classify(path, train="z")


def test_a_long_log_is_thinned_and_its_rare_columns_are_not(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("step,loss,val_loss\n")
        file.writelines(f"{i},{2 / (1 + i / 1000):.4f},{'' if i % 1000 else 1.5}\n" for i in range(250_000))
    log = read_log(path)
    assert len(log.columns["loss"].values) < 110_000
    assert len(log.columns["val_loss"].values) == 250
    assert "one value in" in log.notes[0]
    run = runs_of(log)[0]
    assert run.val.x[-1] == pytest.approx(249_000, abs=10)
