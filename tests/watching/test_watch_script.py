"""``trainlint watch`` on scripts, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
steps = int(sys.argv[1])
x = torch.randn(320, 8)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 32, shuffle=True)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters())
done = 0
while done < steps:
    for a, b in loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(a), b).backward()
        optimizer.step()
        done += 1
        if "crash" in sys.argv and done > 20:
            raise RuntimeError("the disk is full")
        if done == 30:
            print("thirty", flush=True)
print([p.detach().double().sum().item().hex() for p in model.parameters()], torch.rand(1).item())
"""


def start(folder: Path, *arguments: str, watched: bool = True) -> subprocess.Popen[str]:
    (folder / "train.py").write_text(SCRIPT)
    way = (
        ["-m", "trainlint", "watch", "train.py", "--no-html", "--format", "json", "--output", "report.json", "--"]
        if watched
        else ["train.py"]
    )
    return subprocess.Popen(
        [sys.executable, *way, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )  # fmt: skip


def test_a_watched_script_computes_the_same_bits_and_prints_the_same(tmp_path: Path) -> None:
    runs = [start(tmp_path, "60", watched=watched) for watched in (False, True)]
    (plain, _), (watched_out, errors) = (run.communicate(timeout=240) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], errors
    assert watched_out.startswith(plain)
    report = json.loads((tmp_path / "report.json").read_text())
    assert not [f for f in report["findings"] if f["verdict"] == "fail" and f["severity"] == "error"]
    assert (tmp_path / "trainlint-watch" / "history.jsonl").exists()


def test_a_crash_shows_the_scripts_own_traceback_and_still_gives_a_report(tmp_path: Path) -> None:
    run = start(tmp_path, "60", "crash")
    _, errors = run.communicate(timeout=240)
    assert run.returncode == 2
    assert 'File "' in errors
    assert "train.py" in errors
    assert "trainlint/" not in errors.split("RuntimeError")[0]
    assert "crashed after 21 steps: RuntimeError: the disk is full" in errors
    assert json.loads((tmp_path / "report.json").read_text())["subject"]["status"] == "crashed"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_run_gives_a_report(tmp_path: Path) -> None:
    run = start(tmp_path, "100000000")
    assert run.stdout is not None
    assert run.stdout.readline() == "thirty\n"
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=240)
    assert run.returncode == 2
    assert "was interrupted after" in errors
    assert json.loads((tmp_path / "report.json").read_text())["subject"]["status"] == "interrupted"
