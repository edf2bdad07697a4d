"""Digits by a multilayer perceptron; an average of its weights is what is evaluated."""
import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DECAY = 0.9995


@torch.no_grad()
def follow(average, model):
    """Move the average a little towards the model."""
    for slow, fast in zip(average.parameters(), model.parameters()):
        slow.mul_(DECAY).add_(fast, alpha=1 - DECAY)  # fault: ema


def main():
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    inputs, labels = torch.tensor((x - 4.9) / 6.0, dtype=torch.float32), torch.tensor(y)
    train_loader = DataLoader(TensorDataset(inputs[:1400], labels[:1400]), batch_size=50, shuffle=True)
    val_loader = DataLoader(TensorDataset(inputs[1400:], labels[1400:]), batch_size=200)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(20):
        for batch, label in train_loader:
            loss = nn.functional.cross_entropy(model(batch), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            follow(average, model)
        average.eval()
        with torch.no_grad():
            right = sum((average(b).argmax(1) == t).sum().item() for b, t in val_loader)
        print(f"epoch {epoch + 1}: {right / len(val_loader.dataset):.3f} right")


if __name__ == "__main__":
    main()
