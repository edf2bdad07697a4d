"""`pytest --trainlint train.py` in processes of its own: a broken script fails by its rule's item, the mended one passes."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

GOOD = """
import pathlib, torch, torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
with open(COUNT, "a") as runs: runs.write("run ")
torch.manual_seed(0)
x = torch.randn(400, 10)
y = (x[:, :3].sum(1) > 0).long()
loader = DataLoader(TensorDataset(x, y), 32, shuffle=True)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(20):
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
"""
BAD = GOOD.replace("        optimizer.zero_grad()\n", "")
CONFIG = '[tool.trainlint]\nselect = ["init-loss", "gradient-accumulation", "loop-order"]\n'


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", *options], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A broken script by two workers."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "train.py").write_text(BAD.replace("COUNT", "'/dev/null'"))
    (folder / "pyproject.toml").write_text(CONFIG)
    return folder, run(folder, "-n", "2", "--trainlint", "train.py", "--junitxml", "out/junit.xml", "-v")


def test_two_workers_fail_by_the_rules_item_with_place_and_fix(broken) -> None:
    _, done = broken
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 3 passed" in done.stdout
    assert "TL305 gradient-accumulation (error)" in done.stdout
    assert "at train.py:" in done.stdout
    assert "fix: Clear the gradients" in done.stdout
    assert "Traceback" not in done.stdout
    assert "trainlint/testing" not in done.stdout


def test_the_summary_names_the_root_cause(broken) -> None:
    _, done = broken
    summary = done.stdout[done.stdout.rindex("= trainlint =") :]
    assert "train.py: 1 error; 2 rules passed, 0 not judged" in summary
    assert "start here: train.py:" in summary


def test_the_page_lies_beside_the_junit_file(broken) -> None:
    folder, _ = broken
    assert "gradient-accumulation" in (folder / "out" / "trainlint-train.html").read_text()
    cases = {case.get("name"): case for case in ElementTree.parse(folder / "out" / "junit.xml").iter("testcase")}
    assert set(cases) == {"runs", "init-loss", "gradient-accumulation", "loop-order"}
    assert cases["gradient-accumulation"].find("failure") is not None
    assert cases["init-loss"].find("failure") is None


def test_one_scan_serves_all_workers_and_the_mended_script_passes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(GOOD.replace("COUNT", repr(str(tmp_path / "count"))))
    (tmp_path / "pyproject.toml").write_text(CONFIG + '[tool.pytest.ini_options]\ntrainlint_scripts = ["train.py"]\n')
    done = run(tmp_path, "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert "train.py: clean; 3 rules passed, 0 not judged" in done.stdout


def test_importing_the_plugin_imports_no_torch() -> None:
    code = "import sys; import trainlint, trainlint.pytest_plugin; heavy = {'torch', 'numpy', 'jinja2', 'matplotlib', 'scipy', 'rich', 'click'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_run_of_pytest_without_scripts_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import sys\ndef test_it(): assert not {'torch', 'trainlint.testing'} & set(sys.modules)\n")
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
