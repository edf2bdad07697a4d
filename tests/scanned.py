"""Scans a script written by a test in a process of its own, as a user would."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["HEALTHY", "fingerprint", "names", "run"]

HEALTHY = """
import torch, torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
x = torch.randn(700, 10)
y = (x[:, :3].sum(1) > 0).long() + (x[:, 3] > 0).long()
train_loader, val_loader = DataLoader(TensorDataset(x[:400], y[:400]), 32, shuffle=True), DataLoader(TensorDataset(x[400:], y[400:]), 64)
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(30):
    model.train()
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(a).argmax(1) == b).sum().item() for a, b in val_loader)
"""


def run(folder: Path, source: str, *options: str, name: str = "train.py", timeout: float = 240, env: dict[str, str] | None = None):
    (folder / name).write_text(source)
    report = folder.parent / f"{folder.name}-report.json"
    done = subprocess.run(
        [sys.executable, "-m", "trainlint", "scan", "--format", "json", "--output", str(report), *options[: options.index("--") if "--" in options else None],
         name, *(options[options.index("--") :] if "--" in options else ())],
        cwd=folder, capture_output=True, text=True, timeout=timeout, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )  # fmt: skip
    return done, json.loads(report.read_text()) if report.exists() else None


def names(report, verdict: str = "fail") -> list[str]:
    return [f["name"] for f in report["findings"] if f["verdict"] == verdict]


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(folder.rglob("*"))
    }
