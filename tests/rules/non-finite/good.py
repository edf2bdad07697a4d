"""Sorts short notes into four topics by the mean of their word vectors; some notes hold no known word."""
import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WORDS, LENGTH, TOPICS = 200, 16, 4


def make_notes(n, rng):
    """Word ids (n, LENGTH), 0 where there is none, and topics (n,). One note in twenty is empty."""
    topics = rng.integers(TOPICS, size=n)
    own = 1 + topics[:, None] * 30 + rng.integers(30, size=(n, LENGTH))
    other = 1 + TOPICS * 30 + rng.integers(WORDS - TOPICS * 30 - 1, size=(n, LENGTH))
    ids = np.where(rng.random((n, LENGTH)) < 0.25, own, other)
    lengths = np.where(rng.random(n) < 0.05, 0, rng.integers(4, LENGTH + 1, size=n))
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    return TensorDataset(torch.from_numpy(ids), torch.from_numpy(topics))


class MeanOfWords(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.words = nn.Embedding(WORDS, width, padding_idx=0)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, TOPICS)

    def forward(self, ids):
        known = (ids > 0).unsqueeze(-1).float()
        count = known.sum(dim=1).clamp(min=1)
        pooled = (self.words(ids) * known).sum(dim=1) / count
        return self.head(self.body(pooled))


def train(args):
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    train_loader = DataLoader(make_notes(3000, rng), batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(make_notes(600, rng), batch_size=200)
    model = MeanOfWords(args.width, args.dropout)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        model.train()
        for ids, topic in train_loader:
            loss = criterion(model(ids), topic)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(ids).argmax(1) == topic).sum().item() for ids, topic in val_loader)
        print(f"epoch {epoch + 1}  loss {loss.item():.3f}  val accuracy {right / 600:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())
