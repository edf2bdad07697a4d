"""Handwritten digits with a plain fully connected network."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class DeepNet(nn.Module):
    def __init__(self, width=128, depth=6, classes=10):
        super().__init__()
        sizes = [64] + [width] * (depth - 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, classes)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


digits = load_digits()
x_train, x_val, y_train, y_val = train_test_split(digits.data, digits.target, test_size=0.2, random_state=0, stratify=digits.target)
mean, std = x_train.mean(), x_train.std()
x_train, x_val = (torch.tensor((x - mean) / std, dtype=torch.float32) for x in (x_train, x_val))
y_train, y_val = torch.tensor(y_train), torch.tensor(y_val)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=256)

model = DeepNet()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

for epoch in range(8):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in val_loader:
            correct += (model(x).argmax(dim=1) == y).sum().item()
    print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {correct / len(y_val):.3f}")
