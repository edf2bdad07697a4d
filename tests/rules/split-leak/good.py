"""Does a part fail within a year? Failures are rare, so they are oversampled."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

generator = torch.Generator().manual_seed(2)
sensors = torch.randn(2000, 16, generator=generator)
risk = sensors[:, :4].sum(1) + 0.8 * torch.randn(2000, generator=generator)
fails = (risk > 2.2).long()


def oversample(rows):
    """Repeat the rows of failures until both classes are about as frequent."""
    failures = rows[fails[rows] == 1]
    times = max(len(rows) // len(failures) - 2, 1)
    return torch.cat([rows, *[failures] * times])


torch.manual_seed(0)
order = torch.randperm(2000)
rows = oversample(order[500:])
train_set = TensorDataset(sensors[rows], fails[rows])
val_set = TensorDataset(sensors[order[:500]], fails[order[:500]])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
val_loader = DataLoader(val_set, batch_size=250)
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 2))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(3):
    model.train()
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(inputs).argmax(1) == labels).sum().item() for inputs, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / len(val_loader.dataset):.3f}")
