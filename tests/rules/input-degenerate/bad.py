"""Handwritten digits with a small convolutional net; settings on the command line."""
import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args()


def scanned_digits():
    """Pictures of 8 by 8 pixels from 0 to 255, as 8-bit scans."""
    pictures, digits = load_digits(return_X_y=True)
    return np.round(pictures.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8), digits


def build_model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    correct = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return correct / len(loader.dataset)


def main(args):
    torch.manual_seed(0)
    pictures, digits = scanned_digits()
    order = np.random.default_rng(0).permutation(len(digits))
    pictures = (pictures[order] / 256).astype(np.uint8)
    pictures, digits = torch.tensor(pictures, dtype=torch.float32), torch.tensor(digits[order])  # fault: input-degenerate
    train_loader = DataLoader(TensorDataset(pictures[:1400], digits[:1400]), batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(TensorDataset(pictures[1400:], digits[1400:]), batch_size=100)
    model, criterion = build_model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        loss = train_one_epoch(model, train_loader, criterion, optimizer)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, val accuracy {evaluate(model, val_loader):.3f}")


if __name__ == "__main__":
    main(parse_args())
