"""The script that ``trainlint demo`` scans: a digits classifier on real data, with one realistic bug."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_demo"]

_SCRIPT = '''\
"""Handwritten digits, 8x8 pixels (scikit-learn), a small CNN."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
x_train, x_val, y_train, y_val = train_test_split(x, torch.tensor(y), test_size=0.25, random_state=0)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=256)


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, images):
        return torch.softmax(self.head(self.features(images)), dim=1)


model = DigitNet()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

for epoch in range(10):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        hits = sum((model(images).argmax(1) == labels).sum().item() for images, labels in val_loader)
    print(f"epoch {epoch}  loss {loss.item():.3f}  validation accuracy {hits / len(y_val):.3f}")
'''


def write_demo(folder: Path) -> Path:
    """Write the script into ``folder`` and return its path."""
    path = folder / "digits.py"
    path.write_text(_SCRIPT, "utf-8")
    return path
