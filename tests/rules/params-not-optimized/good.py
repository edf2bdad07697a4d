"""Digits with an exchangeable body under a linear head; functions and argparse."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_body(inputs=64, width=48, depth=1):
    sizes = [inputs] + [width] * depth
    layers = [nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()) for a, b in zip(sizes, sizes[1:])]
    return nn.Sequential(*layers)


class Classifier(nn.Module):
    def __init__(self, width=48, classes=10):
        super().__init__()
        self.body = make_body(width=width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.body(x))


def load(batch_size):
    data, target = load_digits(return_X_y=True)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(data, dtype=torch.float32)[order], torch.tensor(target)[order]
    x = (x - x[:1400].mean()) / x[:1400].std()
    train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=batch_size, shuffle=True)
    val = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=256)
    return train, val


def train_one_epoch(model, loader, criterion, optimizer):
    model.train()
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(model, loader):
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for x, y in loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
            total += len(y)
    return correct / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    torch.manual_seed(0)

    train, val = load(args.batch_size)
    model = Classifier()
    model.body = make_body(depth=args.depth)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        train_one_epoch(model, train, criterion, optimizer)
        print(f"epoch {epoch}: validation accuracy {evaluate(model, val):.3f}")


if __name__ == "__main__":
    main()
