"""Grades of wine from its chemistry, by a multilayer perceptron with batch normalisation."""
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)
x, y = load_wine(return_X_y=True)
data = TensorDataset(torch.tensor(StandardScaler().fit_transform(x), dtype=torch.float32), torch.tensor(y))
train_set, val_set = random_split(data, [138, 40])
train_loader = DataLoader(train_set, batch_size=16, shuffle=True, drop_last=True)
val_loader = DataLoader(val_set, batch_size=40)
model = nn.Sequential(nn.Linear(13, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(20):
    model.train()
    for features, grade in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(features), grade)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(features).argmax(1) == grade).sum().item() for features, grade in val_loader)
    print(f"epoch {epoch + 1}: {right} of {len(val_set)} right")
