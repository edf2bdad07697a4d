"""Whole scans of real scripts in real processes: what is found, what is left behind, and how bad input ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scanned import HEALTHY, fingerprint, names, run


def test_a_healthy_script_is_clean(tmp_path: Path) -> None:
    done, report = run(tmp_path, HEALTHY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [f for f in report["findings"] if f["verdict"] == "fail" and f["severity"] != "note"] == []
    assert report["start_here"] is None
    assert "init-loss" in names(report, "pass")


def test_a_bug_is_found_first_and_at_its_line(tmp_path: Path) -> None:
    done, report = run(tmp_path, HEALTHY.replace("        optimizer.zero_grad()\n", ""))
    assert done.returncode == 1
    assert report["start_here"]["name"] == "gradient-accumulation"
    finding = next(f for f in report["findings"] if f["name"] == "gradient-accumulation")
    line = (tmp_path / "train.py").read_text().splitlines()[finding["location"]["line"] - 1]
    assert line.strip() in ("loss.backward()", "optimizer.step()")
    assert "zero_grad" in finding["fix"]["code"]


def test_arguments_working_folder_and_sibling_modules_are_as_python_would_set_them(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WIDTH = 32\n")
    source = (
        "import argparse, sys, os\nfrom helper import WIDTH\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr', type=float)\n"
    )
    source += (
        "args = parser.parse_args()\nassert args.lr == 0.003 and sys.argv[0] == 'train.py' and __name__ == '__main__' and WIDTH == 32\n"
    )
    done, report = run(tmp_path, source + HEALTHY.replace("lr=3e-3", "lr=args.lr"), "--", "--lr", "0.003")
    assert done.returncode == 0, done.stderr
    assert "--lr 0.003" in report["subject"]["command"]


def test_selected_rules_alone_are_judged(tmp_path: Path) -> None:
    _, report = run(tmp_path, HEALTHY, "--select", "init-loss,TL303", "--ignore", "TL303")
    assert [f["name"] for f in report["findings"]] == ["init-loss"]
    assert report["subject"]["notes"][-1] == "left out by --ignore or the settings: TL303"


WRITES = (
    HEALTHY
    + """
import os, pathlib, numpy as np
os.makedirs("runs/a", exist_ok=True)
torch.save(model.state_dict(), "best.pt")
model.load_state_dict(torch.load("best.pt"))
torch.save(model.state_dict(), "runs/a/last.pt")
np.save("curve.npy", np.zeros(3))
pathlib.Path("log.txt").open("a").write("more")
open("config.yaml", "w").write("changed")
assert open("config.yaml").read() == "changed" and os.path.exists("best.pt") and "best.pt" in os.listdir(".")
os.remove("old.ckpt")
assert not os.path.exists("old.ckpt")
os.rename("best.pt", "final.pt")
torch.load("final.pt")
"""
)


def test_nothing_of_the_users_is_changed_and_nothing_left_behind(tmp_path: Path) -> None:
    for name in ("log.txt", "config.yaml", "old.ckpt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "data").mkdir()
    source = WRITES.replace("range(30)", "range(1)")
    (tmp_path / "train.py").write_text(source)
    before = fingerprint(tmp_path)
    done, report = run(tmp_path, source, "--select", "init-loss")
    assert done.returncode == 0, done.stderr
    assert report["subject"]["status"] == "recorded"
    assert fingerprint(tmp_path) == before


def test_checkpoints_of_every_epoch_leave_no_trace_when_the_scan_stops_the_script(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_text("the user's own checkpoint")
    source = HEALTHY + '    torch.save(model.state_dict(), "best.pt")\n'
    (tmp_path / "train.py").write_text(source)
    before = fingerprint(tmp_path)
    run(tmp_path, source, "--select", "init-loss")
    assert fingerprint(tmp_path) == before


def test_a_module_is_run_as_python_dash_m_would(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text("WIDTH = 32\n")
    (package / "train.py").write_text("from .sizes import WIDTH\n" + HEALTHY)
    done = subprocess.run(
        [sys.executable, "-m", "trainlint", "scan", "-m", "pkg.train", "--select", "init-loss", "--no-html"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_evidence_is_judged_again_without_torch(tmp_path: Path) -> None:
    run(tmp_path, HEALTHY.replace("        optimizer.zero_grad()\n", ""), "--save-evidence", "evidence.jsonl")
    code = (
        "import sys\nfrom trainlint.cli import main\n"
        "try:\n    main(['judge', 'evidence.jsonl'])\nexcept SystemExit as stop:\n    assert 'torch' not in sys.modules, 'torch'\n    sys.exit(stop.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "gradient-accumulation" in done.stdout


TWICE = (
    HEALTHY
    + """
for parameter in model[0].parameters():
    parameter.requires_grad = False
tuner = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
for epoch in range(20):
    for inputs, labels in train_loader:
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        tuner.step()
"""
)


def test_a_second_training_of_the_script_is_judged_too(tmp_path: Path) -> None:
    done, report = run(tmp_path, TWICE, "--select", "gradient-accumulation,init-loss,train-mode")
    assert done.returncode == 1, done.stderr
    assert report["start_here"]["name"] == "gradient-accumulation"
    finding = next(f for f in report["findings"] if f["name"] == "gradient-accumulation")
    assert finding["message"].startswith("In the script's second training: ")
    assert finding["location"]["line"] == next(i for i, text in enumerate(TWICE.splitlines(), 1) if "backward" in text and i > 25)


def test_a_comment_takes_a_finding_back_and_settings_come_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.trainlint]\nselect = ["coupled-weight-decay", "shuffle"]\nfail-on = "warning"\n')
    source = HEALTHY.replace("AdamW(model.parameters(), lr=3e-3)", "Adam(model.parameters(), lr=3e-3, weight_decay=0.1)")
    done, report = run(tmp_path, source)
    assert (done.returncode, names(report)) == (1, ["coupled-weight-decay"])
    done, report = run(tmp_path, source.replace("weight_decay=0.1)", "weight_decay=0.1)  # trainlint: ignore[coupled-weight-decay]"))
    assert (done.returncode, names(report)) == (0, [])
    assert "suppressed by" in next(f for f in report["findings"] if f["name"] == "coupled-weight-decay")["reason"]
    done, report = run(tmp_path, source.replace("weight_decay=0.1)", "weight_decay=0.1)  # trainlint: ignore[coupled-decay]"))
    assert done.returncode == 2
    assert "train.py:10: there is no rule 'coupled-decay'; did you mean 'coupled-weight-decay'?" in done.stderr


def test_a_script_that_fails_over_a_cut_validation_is_judged_as_any_other(tmp_path: Path) -> None:
    seen = "hits = sum(len(a) for a, b in val_loader)\n        assert hits == 300, hits"
    source = HEALTHY.replace(
        "hits = sum((model(a).argmax(1) == b).sum().item() for a, b in val_loader)", seen.replace("len(a)", "len(model(a))")
    )
    done, report = run(tmp_path, source, "--select", "gradient-accumulation,shuffle")
    assert done.returncode == 0, done.stderr
    assert "AssertionError: 128" in report["subject"]["notes"][0]


def test_a_notebook_is_scanned_and_its_faults_are_named_by_cell(tmp_path: Path) -> None:
    first, loop = HEALTHY.strip().split("optimizer = ")
    sources = ["!nvidia-smi", first.replace(", shuffle=True", "").replace("x = torch", "# features\nx = torch"), f"optimizer = {loop}"]
    cells = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in sources]
    notebook = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    done, report = run(tmp_path, notebook, "--no-proof", "--no-html", "--select", "shuffle", "--fail-on", "warning", name="train.ipynb")
    assert done.returncode == 1, done.stderr
    (finding,) = [f for f in report["findings"] if f["verdict"] == "fail"]
    assert (finding["location"]["file"], finding["location"]["cell"], finding["location"]["line"]) == ("train.ipynb", 2, 8)
    assert "cell 1, line 1: !nvidia-smi" in report["subject"]["notes"][0]
