"""A GRU that reads digits row by row."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 8
torch.manual_seed(3)


class RowReader(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.rnn = nn.GRU(input_size=8, hidden_size=hidden, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, rows):
        states, _ = self.rnn(rows)
        summary = states[:, -1].detach()  # fault: no-gradient
        return self.out(self.norm(summary))


def make_loaders():
    digits = load_digits()
    rows = torch.as_tensor(digits.images, dtype=torch.float32)
    rows = (rows - rows.mean()) / rows.std()
    labels = torch.as_tensor(digits.target)
    split = torch.randperm(len(labels))
    train_ids, val_ids = split[:1500], split[1500:]
    train = DataLoader(TensorDataset(rows[train_ids], labels[train_ids]), batch_size=32, shuffle=True, drop_last=True)
    val = DataLoader(TensorDataset(rows[val_ids], labels[val_ids]), batch_size=100)
    return train, val


train_loader, val_loader = make_loaders()
net = RowReader()
loss_fn = nn.CrossEntropyLoss()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)

for epoch in range(1, EPOCHS + 1):
    net.train()
    running = 0.0
    for rows, labels in train_loader:
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(net(rows), labels)
        loss.backward()
        opt.step()
        running += loss.item()

    net.eval()
    with torch.no_grad():
        hits = [(net(rows).argmax(-1) == labels).float().mean() for rows, labels in val_loader]
    print(f"{epoch}: train loss {running / len(train_loader):.3f}  val acc {torch.stack(hits).mean():.3f}")
