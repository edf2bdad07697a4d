"""Wine cultivars from chemistry: a residual network for tables, trained by SGD with clipping."""

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(2 * width, width))

    def forward(self, x):
        return x + self.inner(self.norm(x))


class TableNet(nn.Module):
    def __init__(self, columns, classes, width=32):
        super().__init__()
        self.stem = nn.Linear(columns, width)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


features, labels = load_wine(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(features, labels, test_size=0.3, random_state=0, stratify=labels)
scaler = StandardScaler().fit(x_train)
x_train, x_val = (torch.tensor(scaler.transform(x), dtype=torch.float32) for x in (x_train, x_val))
y_train, y_val = torch.tensor(y_train), torch.tensor(y_val)
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=16, shuffle=True, drop_last=True)
val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=64)

model = TableNet(columns=13, classes=3)
loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

for epoch in range(15):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()

    model.eval()
    with torch.no_grad():
        hits = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
    print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {hits / len(y_val):.3f}")
