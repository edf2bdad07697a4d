"""A deep fully connected network on handwritten digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def block(width):
    return nn.Sequential(nn.Linear(width, width), nn.Sigmoid())


def deep_network(inputs=64, width=64, depth=8, classes=10):
    return nn.Sequential(nn.Linear(inputs, width), *[block(width) for _ in range(depth)], nn.Linear(width, classes))  # fault: gradient-vanishing


def loaders(batch_size=64):
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    cut = int(0.8 * len(x))
    x = (x - x[:cut].mean()) / x[:cut].std()
    train = DataLoader(TensorDataset(x[:cut], y[:cut]), batch_size, shuffle=True, drop_last=True)
    return train, DataLoader(TensorDataset(x[cut:], y[cut:]), batch_size=200)


def accuracy(model, loader):
    model.eval()
    with torch.inference_mode():
        hits = torch.cat([model(x).argmax(1) == y for x, y in loader])
    return hits.float().mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader, val_loader = loaders()
    model = deep_network()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(8):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, validation accuracy {accuracy(model, val_loader):.3f}")
