"""Fine-tuning a timm model: learned on the digits 0 to 4, adapted to the digits 5 to 9, of which only a few are known.

The first half stands for a download: it leaves a checkpoint, and the second half starts from it with a new head.

python examples/finetune.py                                  # trains; about 85 % of the validation digits
trainlint scan examples/finetune.py                          # clean
trainlint scan examples/finetune.py -- --bug stale-optimizer # the optimizer is built before the head is replaced
"""

import argparse
import tempfile
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def digits(first: int, train_each: int) -> tuple[TensorDataset, TensorDataset]:
    """Five digits from ``first`` on as pictures (3, 32, 32): ``train_each`` of each to train on, the others to validate."""
    pixels, labels = load_digits(return_X_y=True)
    pictures = F.interpolate(torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1, size=32, mode="bilinear")
    labels = torch.tensor(labels)
    train, val = [], []
    for digit in range(first, first + 5):
        chosen = (labels == digit).nonzero().flatten()
        train.append(chosen[:train_each])
        val.append(chosen[train_each:])
    parts = [torch.cat(part) for part in (train, val)]
    return tuple(TensorDataset(pictures[part].expand(-1, 3, -1, -1), labels[part] - first) for part in parts)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, val_loader: DataLoader, epochs: int) -> None:
    for epoch in range(epochs):
        model.train()
        for pictures, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pictures), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = torch.cat([model(pictures).argmax(1) == labels for pictures, labels in val_loader])
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {hits.float().mean():.3f}")


def pretrain(checkpoint: Path, epochs: int) -> None:
    data, val = digits(0, train_each=140)
    model = timm.create_model("test_resnet", num_classes=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    train(model, optimizer, DataLoader(data, 32, shuffle=True), DataLoader(val, 128), epochs)
    torch.save(model.state_dict(), checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--bug", choices=["stale-optimizer"])
    args = parser.parse_args()

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        pretrain(Path(folder) / "zero_to_four.pt", epochs=4)
        model = timm.create_model("test_resnet", num_classes=5)
        model.load_state_dict(torch.load(Path(folder) / "zero_to_four.pt", weights_only=True))
    data, val = digits(5, train_each=20)
    if args.bug == "stale-optimizer":
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
        model.reset_classifier(5)
    else:
        model.reset_classifier(5)
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    train(model, optimizer, DataLoader(data, 16, shuffle=True), DataLoader(val, 128), args.epochs)


if __name__ == "__main__":
    main()
