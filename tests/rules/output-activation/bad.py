"""Handwritten digits (8 x 8 pixels) with a small CNN and a trainer class."""
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class DigitNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        )
        self.classifier = nn.Linear(32 * 4, classes)

    def forward(self, x):
        x = self.features(x).flatten(1)
        return self.classifier(x).softmax(dim=1)  # fault: output-activation


class Trainer:
    def __init__(self, model, lr=0.05):
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    def train_one_epoch(self, loader):
        self.model.train()
        total = 0.0
        for images, labels in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(images)
        return total / len(loader.dataset)

    @torch.no_grad()
    def accuracy(self, loader):
        self.model.eval()
        hits = sum((self.model(images).argmax(1) == labels).sum().item() for images, labels in loader)
        return hits / len(loader.dataset)

    def fit(self, train_loader, val_loader, epochs):
        for epoch in range(1, epochs + 1):
            loss = self.train_one_epoch(train_loader)
            print(f"epoch {epoch}: loss {loss:.3f}, val accuracy {self.accuracy(val_loader):.3f}")


def loaders(batch_size=64):
    digits = load_digits()
    train_x, val_x, train_y, val_y = train_test_split(digits.images, digits.target, test_size=0.25, random_state=1, stratify=digits.target)
    mean, std = train_x.mean(), train_x.std()
    sets = [
        TensorDataset(torch.tensor((x - mean) / std, dtype=torch.float32).unsqueeze(1), torch.tensor(y))
        for x, y in ((train_x, train_y), (val_x, val_y))
    ]
    return DataLoader(sets[0], batch_size=batch_size, shuffle=True), DataLoader(sets[1], batch_size=256)


if __name__ == "__main__":
    torch.manual_seed(2)
    Trainer(DigitNet()).fit(*loaders(), epochs=5)
