"""Where is the blob? A convolutional network predicts a heat map of small synthetic pictures."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SIZE = 24


def make_pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    centers = 4 + torch.rand(count, 2, generator=generator) * (SIZE - 8)
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), dim=-1).float()
    distance = (grid[None] - centers[:, None, None]).norm(dim=-1)
    pictures = torch.exp(-((distance / 3) ** 2)) + 0.3 * torch.randn(count, SIZE, SIZE, generator=generator)
    pictures = (pictures - pictures.mean()) / pictures.std()
    return pictures[:, None], (distance < 2.5).float()[:, None]


class HeatMap(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, width, 5, padding=2)
        self.head = nn.Conv2d(width, 1, 1)
        prior = -math.log((1 - 0.05) / 0.05)  # one pixel in twenty belongs to a blob
        for layer in (self.conv1, self.conv2, self.head):
            nn.init.constant_(layer.bias, prior)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))  # fault: dead-units
        return self.head(x)


torch.manual_seed(0)
train_loader = DataLoader(TensorDataset(*make_pictures(600, seed=1)), batch_size=30, shuffle=True)
val_loader = DataLoader(TensorDataset(*make_pictures(150, seed=2)), batch_size=50)
model = HeatMap()
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

for epoch in range(4):
    model.train()
    for pictures, maps in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(pictures), maps)
        loss.backward()
        optimizer.step()
    model.eval()
    overlap = union = 0.0
    with torch.no_grad():
        for pictures, maps in val_loader:
            found = (model(pictures) > 0).float()
            overlap += (found * maps).sum().item()
            union += torch.clamp(found + maps, max=1).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.4f}, validation IoU {overlap / union:.3f}")
