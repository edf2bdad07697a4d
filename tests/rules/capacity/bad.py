"""Two interleaved spirals, told apart by a network with a hidden layer of two units."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def spirals(n, seed):
    """Points (n, 2) on two arms around the origin, and their arm (n,)."""
    g = torch.Generator().manual_seed(seed)
    arm = torch.randint(2, (n,), generator=g)
    angle = 0.5 + 3 * math.pi * torch.rand(n, generator=g).sqrt()
    turn = angle + math.pi * arm
    return torch.stack([angle * turn.cos(), angle * turn.sin()], dim=1) / 5, arm


def main():
    torch.manual_seed(7)
    train_loader = DataLoader(TensorDataset(*spirals(2000, seed=0)), batch_size=128, shuffle=True)
    val_loader = DataLoader(TensorDataset(*spirals(500, seed=1)), batch_size=250)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))  # fault: capacity
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(15):
        model.train()
        for points, arm in train_loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(points), arm)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            right = sum((model(points).argmax(1) == arm).sum().item() for points, arm in val_loader)
        print(f"epoch {epoch + 1}: {right / len(val_loader.dataset):.3f} right")


if __name__ == "__main__":
    main()
