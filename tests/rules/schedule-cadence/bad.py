"""A convolutional network for digits under a one-cycle schedule."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 5
MAX_LR = 5e-3


def conv_block(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def build_model():
    return nn.Sequential(
        conv_block(1, 16), conv_block(16, 32), nn.MaxPool2d(2), conv_block(32, 32), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 16, 10)
    )


def build_loaders():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    x = (x - x[:1400].mean()) / x[:1400].std()
    train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=50, shuffle=True)
    return train, DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=100)


def validate(model, loader):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main():
    torch.manual_seed(0)
    train_loader, val_loader = build_loaders()
    model = build_model()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=MAX_LR)
    scheduler = OneCycleLR(optimizer, max_lr=MAX_LR, epochs=EPOCHS, steps_per_epoch=len(train_loader))
    for epoch in range(EPOCHS):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()  # fault: schedule-cadence
        print(f"epoch {epoch}: loss {loss.item():.3f}, accuracy {validate(model, val_loader):.3f}, lr {scheduler.get_last_lr()[0]:.1e}")


if __name__ == "__main__":
    main()
