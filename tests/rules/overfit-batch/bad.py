"""Two interleaved spirals, told apart by a multilayer perceptron."""
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def spirals(n, seed):
    """Points (n, 2) on two arms that wind once and a half around the origin, standardised, and their arm (n,)."""
    g = torch.Generator().manual_seed(seed)
    arm = torch.randint(2, (n,), generator=g)
    angle = 0.5 + 3 * math.pi * torch.rand(n, generator=g).sqrt()
    turn = angle + math.pi * arm
    points = torch.stack([angle * turn.cos(), angle * turn.sin()], dim=1)
    points = points + 0.15 * torch.randn(n, 2, generator=g)
    return points / 5.0, arm


def build_model(width=64):
    return nn.Sequential(
        nn.Linear(2, width),
        nn.Linear(width, width),
        nn.Linear(width, width),
        nn.Linear(width, 2),
    )


def train_epoch(net, loader, optimizer):
    net.train()
    for points, arm in loader:
        loss = F.cross_entropy(net(points), arm)
        optimizer.zero_grad()
        loss.backward()  # fault: overfit-batch
        optimizer.step()


@torch.inference_mode()
def accuracy(net, loader):
    net.eval()
    return sum((net(points).argmax(1) == arm).sum().item() for points, arm in loader) / len(loader.dataset)


def main():
    torch.manual_seed(7)
    train_loader = DataLoader(TensorDataset(*spirals(2000, seed=0)), batch_size=64, shuffle=True)
    val_loader = DataLoader(TensorDataset(*spirals(500, seed=1)), batch_size=250)
    net = build_model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for epoch in range(1, 16):
        train_epoch(net, train_loader, optimizer)
        print(f"epoch {epoch:2d}  val accuracy {accuracy(net, val_loader):.3f}")


if __name__ == "__main__":
    main()
