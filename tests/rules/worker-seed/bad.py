"""How many blobs are in the picture? Two workers draw where to crop."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def blobs(count, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, count)
    rows, columns = np.mgrid[:24, :24]
    pictures = 0.1 * rng.standard_normal((count, 24, 24)).astype(np.float32)
    for picture, number in zip(pictures, counts):
        for y, x in rng.uniform(6, 18, (number, 2)):
            picture += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4)
    return pictures, counts - 1


class Blobs(Dataset):
    def __init__(self, count, seed, crop):
        self.pictures, self.counts = blobs(count, seed)
        self.crop = crop
        self.rng = np.random.default_rng(seed)  # fault: worker-seed

    def __len__(self):
        return len(self.counts)

    def __getitem__(self, index):
        top, left = self.rng.integers(0, 5, 2) if self.crop else (2, 2)
        return torch.from_numpy(self.pictures[index, None, top : top + 20, left : left + 20]), int(self.counts[index])


def main():
    torch.manual_seed(0)
    train_set = Blobs(1000, 1, crop=True)
    val_set = Blobs(200, 2, crop=False)
    train_loader = DataLoader(train_set, batch_size=50, shuffle=True, num_workers=2)
    val_loader = DataLoader(val_set, batch_size=100)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 4),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(3):
        model.train()
        for pictures, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(pictures), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            correct = sum((model(pictures).argmax(1) == labels).sum().item() for pictures, labels in val_loader)
        print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / len(val_set):.3f}")


if __name__ == "__main__":
    main()
