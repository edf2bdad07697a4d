"""Handwritten digits by a small convolutional network, with mixup."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mixup(images, labels, alpha=0.4):
    """Blend each picture with another of the batch: pictures, both labels, and the weight of the first."""
    lam = torch.distributions.Beta(alpha, alpha).sample().clamp(0.2, 0.8)
    other = torch.randperm(len(images))
    return lam * images + (1 - lam) * images[other], labels, labels[other], lam


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )


def main():
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 0.6
    labels = torch.tensor(digits.target)
    train_loader = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=64, shuffle=True)
    val_loader = DataLoader(TensorDataset(images[1400:], labels[1400:]), batch_size=200)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(10):
        model.train()
        for x, y in train_loader:
            mixed, target_a, target_b, lam = mixup(x, y)
            output = model(mixed)
            loss = F.cross_entropy(output, target_a)  # fault: soft-targets
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
        print(f"epoch {epoch + 1}: {right / len(val_loader.dataset):.3f} right")


if __name__ == "__main__":
    main()
