"""Predicts how many stars (1 to 5) a stay gets from twelve numbers about it."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    epochs: int = 8
    batch_size: int = 64
    lr: float = 3e-3
    hidden: int = 64
    seed: int = 5


def load_stays(n, rng):
    facts = rng.normal(size=(n, 12)).astype(np.float32)
    quality = facts[:, 0] + 0.8 * facts[:, 1] * (facts[:, 2] > 0) - 0.6 * np.abs(facts[:, 3]) + 0.1 * rng.normal(size=n)
    stars = 1 + np.digitize(quality, np.array([-1.5, -0.8, -0.1, 0.7]))
    return torch.from_numpy(facts), torch.from_numpy(stars).long()  # fault: label-range


def to_labels(stars):
    """Class indices for the numbers of stars."""
    return stars


def run_epoch(model, loader, criterion, optimizer):
    model.train()
    for facts, label in loader:
        loss = criterion(model(facts), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model, loader):
    model.eval()
    return sum((model(facts).argmax(dim=1) == label).sum().item() for facts, label in loader) / len(loader.dataset)


def main(config=Config()):
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    (facts, stars), (val_facts, val_stars) = load_stays(4000, rng), load_stays(800, rng)
    num_classes = int(to_labels(stars).max()) + 1
    train_loader = DataLoader(TensorDataset(facts, to_labels(stars)), batch_size=config.batch_size, shuffle=True)
    val_loader = DataLoader(TensorDataset(val_facts, to_labels(val_stars)), batch_size=200)

    model = nn.Sequential(
        nn.Linear(12, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Linear(config.hidden, num_classes)
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    for epoch in range(config.epochs):
        run_epoch(model, train_loader, criterion, optimizer)
        print(f"epoch {epoch + 1}: val accuracy {accuracy(model, val_loader):.3f}")
    with torch.no_grad():
        predicted_stars = model(val_facts).argmax(dim=1) + 1
    print(f"mean stars: given {val_stars.float().mean():.2f}, predicted {predicted_stars.float().mean():.2f}")


if __name__ == "__main__":
    main()
