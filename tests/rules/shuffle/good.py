"""Which dialect is a word from? A bag of letter pairs; the word lists are read one dialect after another."""
import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

DIALECTS = {
    "north": ("ka", "ri", "sto", "vel", "oth"),
    "south": ("mo", "la", "zi", "nue", "aro"),
    "coast": ("pe", "shi", "wal", "ond", "ula"),
    "hills": ("gra", "dun", "ek", "ist", "bor"),
}
SHARED = ("an", "el", "to", "ma", "re", "in", "os")


def invent(dialect, rng):
    parts = [rng.choice(DIALECTS[dialect] if rng.random() < 0.25 else SHARED) for _ in range(rng.randint(6, 9))]
    return "".join(parts)


def read_lists(per_dialect, seed):
    rng = random.Random(seed)
    return [(invent(dialect, rng), label) for label, dialect in enumerate(DIALECTS) for _ in range(per_dialect)]


class Words(Dataset):
    def __init__(self, entries):
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, index):
        word, label = self.entries[index]
        letters = [0, *(ord(c) - ord("a") + 1 for c in word), 0]
        return torch.tensor([a * 27 + b + 1 for a, b in zip(letters, letters[1:])]), label


def collate(batch):
    pairs, labels = zip(*batch)
    return pad_sequence(pairs, batch_first=True), torch.tensor(labels)


class DialectNet(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.embed = nn.Embedding(27 * 27 + 1, dim, padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, len(DIALECTS)))

    def forward(self, pairs):
        return self.layers(self.embed(pairs).sum(dim=1) / (pairs > 0).sum(dim=1, keepdim=True).sqrt())


torch.manual_seed(2)
train_set, val_set = Words(read_lists(900, seed=1)), Words(read_lists(100, seed=2))
train_loader = DataLoader(train_set, batch_size=40, shuffle=True, collate_fn=collate)
val_loader = DataLoader(val_set, batch_size=100, collate_fn=collate)
model, criterion = DialectNet(), nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for epoch in range(3):
    model.train()
    for pairs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(pairs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(pairs).argmax(1) == labels).sum().item() for pairs, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / len(val_set):.3f}")
