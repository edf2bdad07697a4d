"""Predicts tomorrow's temperature from the last two weeks."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)
days = torch.arange(1500.0)
temperature = torch.sin(days * 2 * torch.pi / 365) + 0.3 * torch.sin(days * 2 * torch.pi / 27) + 0.1 * torch.randn(1500)
windows = temperature.unfold(0, 15, 1)
data = TensorDataset(windows[:, :14], windows[:, 14])
train_loader = DataLoader(torch.utils.data.Subset(data, range(1200)), batch_size=40, shuffle=True)
val_loader = DataLoader(torch.utils.data.Subset(data, range(1200, len(data))), batch_size=100)


def train_epoch(model, optimizer, criterion):
    model.train()
    running = 0.0
    for history, tomorrow in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(history).squeeze(1), tomorrow)
        loss.backward()
        optimizer.step()

        running += loss  # fault: graph-retained
    return running / len(train_loader)


model, criterion = nn.Sequential(nn.Linear(14, 48), nn.Tanh(), nn.Linear(48, 1)), nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(5):
    error = train_epoch(model, optimizer, criterion)
    model.eval()
    with torch.no_grad():
        val = sum(criterion(model(history).squeeze(1), tomorrow).item() for history, tomorrow in val_loader) / len(val_loader)
    print(f"epoch {epoch + 1}: train error {error:.4f}, val error {val:.4f}")
