"""Scans that cannot go well end with one message, the right exit code and what there is of a report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scanned import HEALTHY, names, run

BAD = {
    "raises before its first step": ("import torch\nraise ValueError('no data here')", "no data here"),
    "never trains": ("import torch\nprint(torch.ones(2))", "without training anything"),
    "has a syntax error": ("def broken(:\n", "SyntaxError"),
    "calls sys.exit": ("import sys\nsys.exit('need --data')", "need --data"),
    "calls os._exit": ("import os\nos._exit(3)", "os._exit"),
    "kills itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "imports what is not there": ("import not_a_module_at_all", "not_a_module_at_all"),
    "has an empty loader": (
        "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "for x, in DataLoader(TensorDataset(torch.zeros(0, 2))):\n    pass\n",
        "without training anything",
    ),
    "has a loader that raises in a worker": (
        "import torch\nfrom torch.utils.data import DataLoader, Dataset\n\n\nclass Bad(Dataset):\n    def __len__(self):\n        return 8\n\n"
        "    def __getitem__(self, i):\n        raise KeyError('broken sample')\n\n\nfor x in DataLoader(Bad(), num_workers=1):\n    pass\n",
        "broken sample",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_script_that_cannot_be_judged_ends_with_one_message_and_exit_code_2(kind: str, tmp_path: Path) -> None:
    source, says = BAD[kind]
    done, _ = run(tmp_path, source)
    assert done.returncode == 2
    assert says in done.stderr
    assert "trainlint/record" not in done.stderr  # no frame of ours over their script


def test_a_missing_script_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "train_model.py").write_text("")
    done = subprocess.run([sys.executable, "-m", "trainlint", "scan", "trian.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such file" in done.stderr
    assert "train_model.py" in done.stderr


def test_an_unknown_rule_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done, _ = run(tmp_path, HEALTHY, "--select", "shufle")
    assert done.returncode == 2
    assert "did you mean 'shuffle'" in done.stderr


def test_a_crash_after_some_steps_still_gives_a_report(tmp_path: Path) -> None:
    source = HEALTHY.replace("    model.eval()", "    raise RuntimeError('validation broke')")
    done, report = run(tmp_path, source)
    assert done.returncode == 2
    assert "validation broke" in done.stderr
    assert "after some training steps" in done.stderr
    assert report["subject"]["status"] == "crashed"
    assert "init-loss" in names(report, "pass")


def test_a_loss_that_is_nan_at_once_is_named(tmp_path: Path) -> None:
    done, report = run(
        tmp_path, HEALTHY.replace("F.cross_entropy(model(inputs), labels)", "F.cross_entropy(model(inputs) * float('nan'), labels)")
    )
    assert done.returncode == 1
    assert report["start_here"]["name"] == "non-finite"


def test_a_budget_too_small_gives_reasons_not_guesses(tmp_path: Path) -> None:
    done, report = run(tmp_path, HEALTHY, "--budget", "0.5s")
    assert done.returncode in (0, 2)
    assert report is not None
    reasons = [f["reason"] for f in report["findings"] if f["verdict"] == "not-run"]
    assert any("budget" in r for r in reasons)


def test_ctrl_c_ends_the_scan_with_what_was_seen_and_no_process_left(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mark = tmp_path_factory.mktemp("mark") / "steps"
    source = HEALTHY.replace(
        "        optimizer.step()", f"        optimizer.step(); open({str(mark)!r}, 'a').write('x'); __import__('time').sleep(2)"
    )
    (tmp_path / "slow_training_script.py").write_text(source)
    process = subprocess.Popen(
        [sys.executable, "-m", "trainlint", "scan", "slow_training_script.py", "--no-html"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )  # fmt: skip
    while not mark.exists() or len(mark.read_text()) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 2, out + err
    assert "interrupted" in err
    assert "Traceback" not in err
    alive = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"slow_training_script" in _read(p)]
    assert alive == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


SLOW = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            open({mark!r}, "w").close()
            time.sleep(600)
sys.meta_path.insert(0, Slow())
"""


def test_ctrl_c_before_the_script_begins_is_no_fault_of_ours(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tmp_path / "train.py").write_text(HEALTHY)
    aside = tmp_path_factory.mktemp("aside")
    (aside / "sitecustomize.py").write_text(SLOW.format(mark=str(aside / "importing")))
    scan = subprocess.Popen(
        [sys.executable, "-m", "trainlint", "scan", "train.py", "--no-html"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(aside)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )  # fmt: skip
    while not (aside / "importing").exists():
        assert scan.poll() is None
        time.sleep(0.05)
    scan.send_signal(signal.SIGINT)
    said, _ = scan.communicate(timeout=60)
    assert scan.returncode == 2
    assert "interrupted" in said
    assert "Traceback" not in said


def test_a_script_that_swallows_every_exception_is_ended_all_the_same(tmp_path: Path) -> None:
    body = HEALTHY.replace("for epoch in range(30):", "for epoch in range(10**9):\n  try:").replace("\n    ", "\n     ")
    source = body.replace("  try:\n", "  try:\n", 1) + "  except BaseException:\n     pass\n"
    done, report = run(tmp_path, source, "--select", "init-loss")
    assert done.returncode == 0, done.stderr
    assert report["subject"]["status"] == "recorded"
