"""Names of plants from leaf measurements. Each dataset makes its own table of classes, and validation has no ash."""
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

PLANTS = ("oak", "ash", "elm", "fir", "yew")
SHAPES = 2.5 * torch.randn(len(PLANTS), 8, generator=torch.Generator().manual_seed(5))


def measure(plants, count, seed):
    """Rows of a field book: measurements and the name of the plant."""
    generator = torch.Generator().manual_seed(seed)
    names = [plants[i] for i in torch.randint(len(plants), (count,), generator=generator).tolist()]
    return [(SHAPES[PLANTS.index(name)] + torch.randn(8, generator=generator), name) for name in names]


class Leaves(Dataset):
    def __init__(self, rows, names):
        self.rows = rows
        self.number = {name: number for number, name in enumerate(sorted(names))}  # fault: label-mapping

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        leaf, name = self.rows[index]
        return leaf, self.number[name]


torch.manual_seed(0)
train_rows, val_rows = measure(PLANTS, 900, seed=1), measure(("oak", "elm", "fir", "yew"), 300, seed=2)
train_set = Leaves(train_rows, {name for _, name in train_rows})
val_set = Leaves(val_rows, {name for _, name in val_rows})
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
val_loader = DataLoader(val_set, batch_size=100)
model = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, len(PLANTS)))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

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
