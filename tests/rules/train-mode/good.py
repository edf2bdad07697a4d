"""Counts the steps in a noisy signal, with batch norm in a residual net; a Trainer class."""
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    epochs: int = 5
    batch_size: int = 50
    lr: float = 0.05
    length: int = 64
    classes: int = 4


def signals(count, cfg, seed):
    """Levels that change 0 to 3 times, (N, 1, length), and how often they do."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(cfg.classes, (count,), generator=g)
    jumps = torch.zeros(count, cfg.length)
    for row, label in zip(jumps, labels):
        for place in (torch.randperm(6, generator=g)[:label] + 1) * 9 + torch.randint(-2, 3, (label,), generator=g):
            row[place] = (1.5 + torch.rand((), generator=g)) * (1 if torch.rand((), generator=g) < 0.5 else -1)
    noisy = jumps.cumsum(dim=1) + 0.3 * torch.randn(count, cfg.length, generator=g)
    return ((noisy - noisy.mean(dim=1, keepdim=True)) / 1.5).unsqueeze(1), labels


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False), nn.BatchNorm1d(width),
        )

    def forward(self, x):
        return torch.relu(x + self.body(x))


class Trainer:
    def __init__(self, model, cfg):
        self.model, self.cfg = model, cfg
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9)

    def fit(self, train_loader, val_loader):
        for epoch in range(self.cfg.epochs):
            self.model.train()
            for x, y in train_loader:
                loss = self.criterion(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {self.evaluate(val_loader):.3f}")

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        return sum((self.model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(0)
    cfg = Config()
    stem = [nn.Conv1d(1, 24, 5, padding=2, bias=False), nn.BatchNorm1d(24), nn.ReLU()]
    net = nn.Sequential(*stem, Block(24), Block(24), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, cfg.classes))
    train_loader = DataLoader(TensorDataset(*signals(1200, cfg, seed=1)), batch_size=cfg.batch_size, shuffle=True)
    val_loader = DataLoader(TensorDataset(*signals(300, cfg, seed=2)), batch_size=100)
    Trainer(net, cfg).fit(train_loader, val_loader)
