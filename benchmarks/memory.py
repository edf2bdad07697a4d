"""The largest memory of a scanned script over that of its own first steps.

    python benchmarks/memory.py

A resnet18 on 32 pictures of 3x128x128 with random labels, which is the dearest case: where nothing can be learned, more is tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import resource, sys
import timm, torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = timm.create_model("resnet18", num_classes=10)
loader = DataLoader(TensorDataset(torch.randn(256, 3, 128, 128), torch.randint(0, 10, (256,))), 32, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(100):
    for step, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if len(sys.argv) > 1 and step == 5:
            sys.exit()
"""


def memory() -> tuple[float, float]:
    """MiB of a resnet18 script on 32 pictures of 3x128x128: its own first six steps, and scanned."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text(SCRIPT)
        scan = [
            sys.executable,
            "-m",
            "trainlint",
            "scan",
            str(script),
            "--budget",
            "600",
            "--format",
            "json",
            "--output",
            f"{folder}/r.json",
        ]
        return _peak([sys.executable, str(script), "stop"], folder), _peak(scan, folder)


def _peak(command: list[str], folder: str) -> float:
    """Largest resident memory of a command or of any process it waited for, in MiB."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print both."""
    own, scanned = memory()
    print(f"Peak memory: {own:.0f} MiB by its own first steps, {scanned:.0f} MiB scanned: {scanned / own:.2f} times")


if __name__ == "__main__":
    main()
