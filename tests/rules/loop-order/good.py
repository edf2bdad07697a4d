"""Which of three noisy waveforms is it? A one-dimensional convolutional network."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


@dataclass
class Config:
    length: int = 96
    train_size: int = 1200
    val_size: int = 300
    batch_size: int = 40
    epochs: int = 6
    lr: float = 1e-3


class Waves(Dataset):
    """Sine, square and saw-tooth waves of random frequency and phase."""

    def __init__(self, size, length, seed):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 3, (size,), generator=generator)
        t = torch.linspace(0, 1, length)
        phase = (t * (2 + 4 * torch.rand(size, 1, generator=generator)) + torch.rand(size, 1, generator=generator)) % 1
        waves = torch.stack([torch.sin(6.2832 * phase), torch.sign(phase - 0.5), 2 * phase - 1])
        clean = waves[self.labels, torch.arange(size)]
        signals = clean + 0.3 * torch.randn(size, length, generator=generator)
        self.signals = ((signals - signals.mean()) / signals.std()).unsqueeze(1)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.signals[index], self.labels[index]


def build_model():
    return nn.Sequential(
        nn.Conv1d(1, 16, 7, stride=2, padding=3), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Conv1d(16, 32, 5, stride=2, padding=2), nn.BatchNorm1d(32), nn.ReLU(),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(128, 3),
    )


def run(config):
    torch.manual_seed(0)
    train = DataLoader(Waves(config.train_size, config.length, seed=1), batch_size=config.batch_size, shuffle=True)
    val = DataLoader(Waves(config.val_size, config.length, seed=2), batch_size=100)
    model, criterion = build_model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    for epoch in range(config.epochs):
        model.train()
        for signal, label in train:
            optimizer.zero_grad()
            loss = criterion(model(signal), label)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(signal).argmax(1) == label).sum().item() for signal, label in val)
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {hits / config.val_size:.3f}")


if __name__ == "__main__":
    run(Config())
