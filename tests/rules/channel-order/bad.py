"""Which figure is drawn, and is it warm or cold? A convolutional net on small colour pictures."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

SIDE, FIGURES = 20, 3
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]


def draw(count, seed):
    """Pictures as a camera gives them, (N, rows, columns, colours), and classes: figure * 2 + warm."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0.5, 0.15, (count, SIDE, SIDE, 3))
    figure, warm = rng.integers(0, FIGURES, count), rng.integers(0, 2, count)
    for picture, f, w in zip(pictures, figure, warm):
        y, x = rng.integers(4, SIDE - 4, 2)
        dy, dx = np.abs(ROWS - y), np.abs(COLUMNS - x)
        ring = np.maximum(dy, dx) == 3
        mask = (ring, (np.minimum(dy, dx) == 0) & (dy + dx < 5), (dy == dx) & (dy < 4))[f]
        picture[mask] += np.array([0.35, 0.0, -0.3] if w else [-0.3, 0.0, 0.35])
    return torch.tensor((pictures - 0.5) / 0.2, dtype=torch.float32), torch.tensor(figure * 2 + warm)  # fault: channel-order


class FigureNet(nn.Module):
    def __init__(self, in_channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv3(F.relu(self.conv2(x))))
        return self.head(x.amax(dim=(2, 3)))


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(1)
    (x_train, y_train), (x_val, y_val) = draw(960, seed=1), draw(480, seed=2)
    train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=120)
    model = FigureNet(x_train.shape[1], FIGURES * 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(6):
        model.train()
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: last loss {loss.item():.3f}, val accuracy {accuracy(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
