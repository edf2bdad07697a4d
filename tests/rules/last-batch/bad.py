"""How strong is the concrete? A small network with batch norm on a table of mixtures."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(6)
mixtures = torch.rand(1153, 8)
strength = 2 * mixtures[:, 0] - mixtures[:, 1] + mixtures[:, 2] * mixtures[:, 3] + 0.05 * torch.randn(1153)
strength = (strength - strength.mean()) / strength.std()
train_set, val_set = random_split(TensorDataset((mixtures - 0.5) / 0.29, strength), [961, 192])
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)  # fault: last-batch
val_loader = DataLoader(val_set, batch_size=64)
model = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(5):
    model.train()
    for rows, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(rows).squeeze(1), targets)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        error = sum(criterion(model(rows).squeeze(1), targets).item() for rows, targets in val_loader) / len(val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val error {error:.3f}")
