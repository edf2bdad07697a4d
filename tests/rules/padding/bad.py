"""Is the bracket string balanced? A recurrent reader; strings come in every length and are filled up to the longest."""
import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

SIGNS = {sign: number + 1 for number, sign in enumerate("()[]")}


def balanced(rng, pairs):
    if pairs == 0:
        return ""
    inner = rng.randrange(pairs)
    left, right = rng.choice(("()", "[]"))
    return left + balanced(rng, inner) + right + balanced(rng, pairs - 1 - inner)


def example(rng):
    text, label = list(balanced(rng, rng.randint(1, 12))), rng.randint(0, 1)
    if label == 0:
        at = rng.randrange(len(text))
        text[at] = rng.choice([sign for sign in SIGNS if sign != text[at]])
    return torch.tensor([SIGNS[sign] for sign in text]), label


def collate(batch):
    strings, labels = zip(*batch)
    lengths = torch.tensor([len(string) for string in strings])
    return pad_sequence(strings, batch_first=True), lengths, torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self, dim=24, width=48):
        super().__init__()
        self.embed = nn.Embedding(len(SIGNS) + 1, dim, padding_idx=0)
        self.rnn = nn.LSTM(dim, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, strings, lengths):
        _, (state, _) = self.rnn(self.embed(strings))  # fault: padding
        return self.head(state[-1])


rng = random.Random(4)
torch.manual_seed(4)
train_loader = DataLoader([example(rng) for _ in range(2400)], batch_size=48, shuffle=True, collate_fn=collate)
val_loader = DataLoader([example(rng) for _ in range(400)], batch_size=100, collate_fn=collate)
model, criterion = Reader(), nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(4):
    model.train()
    for strings, lengths, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(strings, lengths), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(strings, lengths).argmax(1) == labels).sum().item() for strings, lengths, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / 400:.3f}")
