"""Forecasts the next twelve values of a noisy seasonal series from the last 48 with a small convolutional network."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    """Each sample is a window of a sum of two oscillations; the target is how it goes on."""

    def __init__(self, n, seed, past=48, future=12):
        g = torch.Generator().manual_seed(seed)
        t = torch.arange(past + future)
        phase = torch.rand(n, 2, 1, generator=g) * 2 * math.pi
        period = torch.tensor([24.0, 7.0]).view(1, 2, 1)
        series = torch.sin(2 * math.pi * t / period + phase).sum(1) + 0.1 * torch.randn(n, past + future, generator=g)
        self.past, self.future = series[:, :past].unsqueeze(1), series[:, past:]

    def __len__(self):
        return len(self.past)

    def __getitem__(self, i):
        return self.past[i], self.future[i]


class Forecaster(nn.Module):
    def __init__(self, future=12):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv1d(16, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(32 * 12, future)

    def forward(self, past):
        return self.head(self.body(past))


class Experiment:
    def __init__(self):
        self.model = Forecaster()
        self.criterion = nn.MSELoss(reduction="sum")  # fault: loss-reduction
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def step(self, past, future):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.criterion(self.model(past), future)
        loss.backward()
        self.optimizer.step()

    def validate(self, loader):
        self.model.eval()
        with torch.no_grad():
            errors = torch.cat([(self.model(past) - future).pow(2) for past, future in loader])
        return errors.mean().sqrt().item()

    def run(self, epochs=5):
        train_loader = DataLoader(Windows(3000, seed=0), batch_size=64, shuffle=True)
        val_loader = DataLoader(Windows(600, seed=1), batch_size=200)
        for epoch in range(epochs):
            self.model.train()
            for past, future in train_loader:
                self.step(past, future)
            print(f"epoch {epoch + 1}: validation RMSE {self.validate(val_loader):.3f}")


if __name__ == "__main__":
    torch.manual_seed(4)
    Experiment().run()
