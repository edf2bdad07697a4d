"""What a column of a log is taken for: a loss of training or validation, a score, a rate, a count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainlint.curves.classify import classify
from trainlint.curves.columns import kind_of
from trainlint.curves.readers import read_log
from trainlint.curves.runs import runs_of

N = 12
TRAIN = [2.0 * 0.7**i + 0.2 for i in range(N)]
VAL = [2.1 * 0.72**i + 0.3 for i in range(N)]
ROWS = list(zip(range(N), TRAIN, VAL, strict=True))


def columns(tmp_path: Path, text: str) -> dict[str, str | None]:
    path = tmp_path / "log.txt"
    path.write_text(text)
    return dict(classify(path).runs[0].columns)


def test_a_tab_after_the_last_cell_is_no_column(tmp_path: Path) -> None:
    text = "total loss\tscore loss\t\n" + "\n".join(f"{t:.6g}\t{v:.6g}\t" for _, t, v in ROWS)
    assert columns(tmp_path, text)["train"] == "total loss"


def test_darknet_lines_have_a_loss_and_a_rate(tmp_path: Path) -> None:
    lines = [
        f"Region 82 Avg IOU: -nan, Class: -nan\n {e}: {t * 2:.6g}, {t:.6g} avg loss, 0.001 rate, 0.19 seconds, {e} images"
        for e, t, _ in ROWS
    ]
    assert columns(tmp_path, "\n".join(lines)) | {"metric": None} == {"train": "loss", "val": None, "metric": None, "lr": "learning rate"}


def test_what_a_logger_puts_before_a_name_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        "\n".join(
            f"2024-05-08 04:06:17,722 INFO:Epoch {e}: Train Loss={t:.6g}\n[2024-05-08 04:06:17,7 INFO] Valid loss: {v:.6g}"
            for e, t, v in ROWS
        )
    )
    run = runs_of(read_log(path))[0]
    assert run.x_label == "Epoch"
    assert run.columns["val"] == "Valid loss"


def test_a_heading_ends_where_a_line_names_another_split(tmp_path: Path) -> None:
    lines = [f"start eval.....\ntest epoch:{e} || Loss:{v:.6g}\nTimer: 0.6\nepoch:{e} || Loss:{t:.6g}\n->>lr:0.1" for e, t, v in ROWS]
    assert columns(tmp_path, "\n".join(lines)) == {"train": "Loss", "val": "test Loss", "metric": None, "lr": "lr"}


def test_headings_are_found_behind_a_time_stamp(tmp_path: Path) -> None:
    lines = [
        f"[03.24.23|09:56:11] Training epoch: {e}\n[03.24.23|09:56:31] \tmean_loss: {t:.6g}\n[03.24.23|09:57:51] Eval epoch: {e}\n[03.24.23|09:57:51] \tmean_loss: {v:.6g}"
        for e, t, v in ROWS
    ]
    found = columns(tmp_path, "\n".join(lines))
    assert (found["train"], found["val"]) == ("train mean_loss", "val mean_loss")


def test_a_second_phase_that_counts_anew_is_a_second_run(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(f"{phase}Epoch {e} | Train Loss: {t:.6g}" for phase in ("", "Fine-Tune ") for e, t, _ in ROWS))
    assert [len(run.train or ()) for run in runs_of(read_log(path))] == [N, N]


def test_the_type_of_a_json_line_tells_its_split_and_counts_may_name_their_end(tmp_path: Path) -> None:
    rows = [
        r
        for e, t, v in ROWS
        for r in ({"_type": "train_epoch", "epoch": f"{e + 1}/40", "loss": t}, {"_type": "val_epoch", "epoch": f"{e + 1}/40", "loss": v})
    ]
    path = tmp_path / "log.txt"
    path.write_text("\n".join(f"json_stats: {json.dumps(r)}" for r in rows))
    run = runs_of(read_log(path))[0]
    assert run.columns["val"] == "val loss"
    assert run.train is not None
    assert list(run.train.x) == list(range(1, N + 1))


def test_generator_and_discriminator_need_no_word_loss(tmp_path: Path) -> None:
    text = "===== Training Loss (Wed Aug 23 13:29:28 2023) =====\n" + "\n".join(
        f"(epoch: {e}, iters: 100, time: 0.09) D_A: 0.5 G_A: {t:.6g} idt_A: 0.1" for e, t, _ in ROWS
    )
    assert columns(tmp_path, text)["train"] == "G_A"


def test_the_rate_of_warmed_up_biases_is_not_the_learning_rate(tmp_path: Path) -> None:
    text = "epoch,train/box_loss,x/lr0,x/lr1\n" + "\n".join(
        f"{e},{t},{0.1 if e < 2 else 0.01},{0.001 if e < 2 else 0.01}" for e, t, _ in ROWS
    )
    assert columns(tmp_path, text)["lr"] == "x/lr1"


def test_sizes_are_no_curves(tmp_path: Path) -> None:
    text = "Train:[5994], Val:[5794]\nTop shape: 128 3 (100)\nnum_epoch: 50\n" + "\n".join(f"Epoch {e} Loss {t:.6g}" for e, t, _ in ROWS)
    assert columns(tmp_path, text) == {"train": "Loss", "val": None, "metric": None, "lr": None}


def test_parts_of_a_validation_loss_are_summed_beside_a_training_total(tmp_path: Path) -> None:
    rows = [
        f"     {e}/{N - 1}     2.26G    {t / 2:.5f}   {t / 2:.5f}         0    {t:.5f}        50       640    0.5    0.4    0.3   0.2    {v / 2:.5f}   {v / 2:.5f}         0"
        for e, t, v in ROWS
    ]
    path = tmp_path / "results.txt"
    path.write_text("\n".join(rows))
    run = runs_of(read_log(path))[0]
    assert run.val is not None
    assert run.val.y == pytest.approx(VAL, abs=1e-4)


def test_bars_that_print_a_line_a_step_count_at_their_end(tmp_path: Path) -> None:
    lines = []
    for e, t, v in ROWS:
        lines += [f"Epoch {e + 1}/{N}", "", *(f" {i}/9 [==>......] - ETA: 5s - loss: {9 - i}.5" for i in range(1, 9))]
        lines.append(f"9/9 [======] - 6s 22ms/step - loss: {t:.6g} - val_loss: {v:.6g}")
    path = tmp_path / "log.txt"
    path.write_text("\n".join(lines))
    run = runs_of(read_log(path))[0]
    assert run.train is not None
    assert run.train.y == pytest.approx(TRAIN, rel=1e-4)


def test_epochs_that_are_named_once_in_many_steps_tell_runs_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(line for _ in range(2) for e, t, _ in ROWS for line in (f"Epoch {e + 1}/{N}", *[f"loss: {t:.6g}"] * 80)))
    assert len(runs_of(read_log(path))) == 2


def test_the_sum_of_a_hugging_face_run_is_no_step(tmp_path: Path) -> None:
    text = "\n".join(f"{{'loss': {t:.6g}, 'epoch': {e}}}" for e, t, _ in ROWS) + "\n{'train_runtime': 9.3, 'train_loss': 1.5, 'epoch': 12}"
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert "train_loss" not in read_log(path).columns


def test_a_headless_total_before_its_parts_has_no_validation(tmp_path: Path) -> None:
    assert columns(tmp_path, "\n".join(f"{t + v},{t},{v}" for _, t, v in ROWS))["val"] is None
    assert columns(tmp_path, "\n".join(f"1,{t}" for _, t, v in ROWS))["train"] == "column 2"


def test_a_discriminator_stands_against_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join(f"Epoch {e} - Loss Discriminator: {v:.6g}, Loss Encoder: {-e}.5, Loss Decoder: {t:.6g}" for e, t, v in ROWS))
    assert runs_of(read_log(path))[0].adversarial


def test_a_loss_may_be_called_by_its_letter(tmp_path: Path) -> None:
    assert columns(tmp_path, "\n".join(f"[epoch: {e}, iter: {100 * e}, lr:(2e-4,)] l_pix: {t:.4e}" for e, t, _ in ROWS))["train"] == "l_pix"


def test_a_module_path_is_no_f_score() -> None:
    assert kind_of("ultralytics.nn.modules.block.C2f") == "other"
    assert {kind_of(name) for name in ("F1", "F-score", "val_f1_macro", "f_measure")} == {"metric"}


def test_actor_and_critic_are_judged_by_the_return(tmp_path: Path) -> None:
    text = "train/loss_actor,train/loss_critic,rollout/return\n" + "\n".join(f"{9 - e},{e}.5,{-t}" for e, t, _ in ROWS)
    assert columns(tmp_path, text) == {"train": None, "val": None, "metric": "rollout/return", "lr": None}


@pytest.mark.parametrize(("values", "role"), [(TRAIN, "train"), ([-t for t in TRAIN], "metric")])
def test_an_export_without_a_tag_is_a_loss_where_it_falls_and_a_score_where_it_rises(
    tmp_path: Path, values: list[float], role: str
) -> None:
    assert columns(tmp_path, "Wall time,Step,Value\n" + "\n".join(f"17e8,{i},{v}" for i, v in enumerate(values)))[role] == "Value"


def test_an_accuracy_without_a_name_is_no_validation_loss(tmp_path: Path) -> None:
    assert columns(tmp_path, "\n".join(f"{i} {0.17 - i * 1e-3} {0.91 + i % 3 * 0.01}" for i in range(20)))["val"] is None


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("loss_tr", "loss_cv"), ("loss", "loss_heldout"), ("loss", "held_out_loss"), ("loss", "xval_loss"), ("loss", "cv_loss"), ("t_loss", "v_loss"),
        ("in_sample_loss", "out_of_sample_loss"), ("inSampleLoss", "outOfSampleLoss"), ("loss_seen", "loss_unseen"), ("train loss", "vali loss"),
        ("err_trn", "err_tst"), ("train_mse", "oos_mse"), ("train_mae", "val_mae"), ("mse", "val_mse"), ("rmse_train", "rmse_valid"),
        ("train_err", "test_err"), ("t_mae", "v_mae"), ("train", "test"), ("trainloss", "cvloss"), ("train_ppl", "dev_ppl"),
    ],
)  # fmt: skip
def test_training_and_validation_are_known_by_the_words_people_use(tmp_path: Path, train: str, val: str) -> None:
    found = columns(tmp_path, f"epoch,{train},{val}\n" + "\n".join(f"{e},{t},{v}" for e, t, v in ROWS))
    assert (found["train"], found["val"], found["metric"]) == (train, val, None)


def test_letters_are_no_split_beside_the_loss_that_they_are_parts_of(tmp_path: Path) -> None:
    text = "epoch,loss,t_loss,v_loss\n" + "\n".join(f"{e},{t + v},{t},{v}" for e, t, v in ROWS)
    assert columns(tmp_path, text) == {"train": "loss", "val": None, "metric": None, "lr": None}
    assert columns(tmp_path, text.replace(",loss", ",samples_seen"))["val"] == "v_loss"


def test_errors_are_scores_where_there_is_a_loss(tmp_path: Path) -> None:
    text = "epoch,loss,mse,val_mse\n" + "\n".join(f"{e},{t + v},{t},{v}" for e, t, v in ROWS)
    assert columns(tmp_path, text) == {"train": "loss", "val": None, "metric": "val_mse", "lr": None}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("loss", "loss_mystery"), "passed over, though the names look like losses: loss_mystery"),
        (("loss_a", "loss_b"), "summed as parts of one training loss: loss_a + loss_b"),
        (("train_mse", "val_mse"), "without a loss, train_mse was taken for the training loss"),
    ],
)
def test_what_was_guessed_or_passed_over_is_said_with_the_flags(tmp_path: Path, names: tuple[str, str], said: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"epoch,{names[0]},{names[1]}\n" + "\n".join(f"{e},{t},{v}" for e, t, v in ROWS))
    (note,) = classify(path).runs[0].notes
    assert said in note
    assert "--train and --val" in note


def test_the_parts_of_totals_that_are_read_need_no_note(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,loss_box,val_loss,val_loss_box\n" + "\n".join(f"{e},{t},{t / 2},{v},{v / 2}" for e, t, v in ROWS))
    assert classify(path).runs[0].notes == ()
