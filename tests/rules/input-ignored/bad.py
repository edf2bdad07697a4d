"""Which gesture was it? Readings of a wrist sensor, summarised by learned weights over time."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

STEPS, GESTURES = 40, 5


def swings(count):
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % GESTURES
    time = torch.linspace(0, 2 * math.pi, STEPS)
    phase = 6 * torch.rand(count, 3, 1, generator=generator)
    waves = torch.sin(time * (1 + labels[:, None, None]) + phase) + 0.3 * torch.randn(count, 3, STEPS, generator=generator)
    return TensorDataset(waves, labels)


class Gesture(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, width, 7, padding=3), nn.ReLU(), nn.Conv1d(width, width, 7, padding=3), nn.ReLU())
        self.query = nn.Parameter(torch.randn(GESTURES, width) / math.sqrt(width))
        self.score = nn.Linear(width, 1)

    def forward(self, waves):
        hidden = self.body(waves).mean(dim=2)
        evidence = hidden[:, None, :] * self.query
        attention = torch.softmax(self.score(evidence), dim=2)  # fault: input-ignored
        return (attention * self.query.norm(dim=1)[:, None]).sum(dim=2)


torch.manual_seed(0)
train_set, val_set = random_split(swings(1500), [1200, 300])
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
val_loader = DataLoader(val_set, batch_size=100)
model, criterion = Gesture(), nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(5):
    model.train()
    for waves, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(waves), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(waves).argmax(1) == labels).sum().item() for waves, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / len(val_set):.3f}")
