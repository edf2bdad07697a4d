"""Sorts short notes into four topics with attention over their words; an entropy penalty makes the attention choose a few of them."""
import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH, TOPICS = 200, 16, 4


def make_notes(n, rng):
    """Word ids (n, LENGTH), 0 behind the end of a note, and topics (n,)."""
    topics = rng.integers(TOPICS, size=n)
    own = 1 + topics[:, None] * 30 + rng.integers(30, size=(n, LENGTH))
    other = 1 + TOPICS * 30 + rng.integers(WORDS - TOPICS * 30 - 1, size=(n, LENGTH))
    ids = np.where(rng.random((n, LENGTH)) < 0.25, own, other)
    ids[np.arange(LENGTH) >= rng.integers(6, LENGTH + 1, size=n)[:, None]] = 0
    return TensorDataset(torch.from_numpy(ids), torch.from_numpy(topics))


class AttentionOverWords(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.words = nn.Embedding(WORDS, width, padding_idx=0)
        self.score = nn.Linear(width, 1)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, TOPICS))

    def forward(self, ids):
        vectors = self.words(ids)
        scores = self.score(vectors).squeeze(-1).masked_fill(ids == 0, -1e4)
        attention = scores.softmax(dim=1)
        return self.head((attention.unsqueeze(-1) * vectors).sum(dim=1)), attention


def entropy(attention):
    return -(attention * attention.log()).sum(dim=1).mean()  # fault: non-finite


def train(args):
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    train_loader = DataLoader(make_notes(3000, rng), batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(make_notes(600, rng), batch_size=200)
    model = AttentionOverWords(args.width, args.dropout)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for ids, topic in train_loader:
            logits, attention = model(ids)
            loss = criterion(logits, topic) + args.penalty * entropy(attention)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(ids)[0].argmax(1) == topic).sum().item() for ids, topic in val_loader)
        print(f"epoch {epoch + 1}  loss {loss.item():.3f}  val accuracy {right / 600:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--penalty", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())
