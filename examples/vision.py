"""An image classifier from scratch: a small CNN on handwritten digits, SGD with momentum and a one-cycle schedule.

python examples/vision.py                                    # trains; about 98 % of the validation digits
trainlint scan examples/vision.py                            # clean
trainlint scan examples/vision.py -- --bug no-zero-grad      # gradients of all earlier steps add up
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class DigitNet(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(2 * width * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).flatten(1))


def loaders(batch_size: int) -> tuple[DataLoader, DataLoader]:
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    parts = train_test_split(images, torch.tensor(digits), test_size=0.25, stratify=digits, random_state=0)
    train, val = TensorDataset(parts[0], parts[2]), TensorDataset(parts[1], parts[3])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, 256)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    hits = [(model(images).argmax(1) == digits).float() for images, digits in loader]
    return torch.cat(hits).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--bug", choices=["no-zero-grad"])
    args = parser.parse_args()

    torch.manual_seed(0)
    train_loader, val_loader = loaders(batch_size=32)
    model = DigitNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, epochs=args.epochs, steps_per_epoch=len(train_loader))
    for epoch in range(args.epochs):
        model.train()
        for images, digits in train_loader:
            if args.bug != "no-zero-grad":
                optimizer.zero_grad()
            loss = F.cross_entropy(model(images), digits)
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {accuracy(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
