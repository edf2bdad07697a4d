"""Which way does the fibre run? Texture patches; training and validation are two ends of one dataset."""
import math
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


def fibre(angle, generator):
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    phase = math.cos(angle) * columns + math.sin(angle) * rows
    return torch.sin(phase + 6 * torch.rand(1, generator=generator)) + 0.3 * torch.randn(20, 20, generator=generator)


class Patches(Dataset):
    def __init__(self, count, jitter):
        generator = torch.Generator().manual_seed(7)
        self.labels = [i % 6 for i in range(count)]
        self.pictures = [fibre(math.pi * label / 6, generator) for label in self.labels]
        self.jitter = jitter

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        picture = self.pictures[index]
        if self.jitter:
            top, left = random.randint(0, 4), random.randint(0, 4)
            picture = random.uniform(0.6, 1.4) * picture[top : top + 16, left : left + 16]
        else:
            picture = picture[2:18, 2:18]
        return picture[None].contiguous(), self.labels[index]


random.seed(1)
torch.manual_seed(1)
patches = Patches(1500, jitter=True)  # fault: eval-augment
train_loader = DataLoader(Subset(patches, range(1200)), batch_size=50, shuffle=True)
val_loader = DataLoader(Subset(patches, range(1200, 1500)), batch_size=100)
model = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 6),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(4):
    model.train()
    for pictures, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(pictures), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(pictures).argmax(1) == labels).sum().item() for pictures, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / 300:.3f}")
