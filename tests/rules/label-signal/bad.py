"""Which machine hums? Recordings of one second, a file each; the labels come from a table."""
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

PITCHES = (9.0, 14.0, 21.0, 33.0)


def record(folder, count):
    """One file a recording, and the table of their labels in the order of recording."""
    rng = np.random.default_rng(4)
    time = np.linspace(0, 1, 128, dtype=np.float32)
    table = []
    for number in range(count):
        machine = int(rng.integers(len(PITCHES)))
        hum = np.sin(2 * np.pi * (PITCHES[machine] * time * rng.uniform(0.95, 1.05) + rng.random()))
        np.save(folder / f"hum_{number}.npy", (hum + rng.normal(0, 0.7, 128)).astype(np.float32))
        table.append((f"hum_{number}.npy", machine))
    return table


class Hums(Dataset):
    def __init__(self, folder, table):
        self.files = sorted(folder.glob("*.npy"))
        self.machines = [machine for _, machine in table]  # fault: label-signal

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return torch.from_numpy(np.load(self.files[index]))[None], self.machines[index]


torch.manual_seed(1)
folder = Path(tempfile.mkdtemp())
table = record(folder, 1100)
hums = Hums(folder, table)
train_set, val_set = random_split(hums, [900, 200], generator=torch.Generator().manual_seed(0))
train_loader = DataLoader(train_set, batch_size=50, shuffle=True)
val_loader = DataLoader(val_set, batch_size=100)
model = nn.Sequential(
    nn.Conv1d(1, 16, 9, stride=2), nn.ReLU(), nn.Conv1d(16, 32, 9, stride=2), nn.ReLU(), nn.AdaptiveMaxPool1d(4), nn.Flatten(), nn.Linear(128, len(PITCHES))
)
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
