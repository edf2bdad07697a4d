"""A noisy function of four variables, learned by a small network with SGD."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


def make_data(count):
    x = torch.rand(count, 4) * 2 - 1
    y = torch.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] - x[:, 3] ** 2 + 0.05 * torch.randn(count)
    return x, y[:, None]


x, y = make_data(2500)
x = (x - x[:2000].mean(0)) / x[:2000].std(0)
y = (y - y[:2000].mean()) / y[:2000].std()
train_loader = DataLoader(TensorDataset(x[:2000], y[:2000]), batch_size=50, shuffle=True)
val_loader = DataLoader(TensorDataset(x[2000:], y[2000:]), batch_size=250)

model = nn.Sequential(
    nn.Linear(4, 64),
    nn.Tanh(),
    nn.Linear(64, 64),
    nn.Tanh(),
    nn.Linear(64, 1),
)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def validate():
    model.eval()
    losses = []
    with torch.no_grad():
        for inputs, targets in val_loader:
            losses.append(criterion(model(inputs), targets).item())
    return sum(losses) / len(losses)


for epoch in range(12):
    model.train()
    for inputs, targets in train_loader:
        loss = criterion(model(inputs), targets)
        loss.backward()  # fault: gradient-accumulation
        optimizer.step()
    print(f"epoch {epoch:2d}  train {loss.item():.4f}  validation {validate():.4f}")
