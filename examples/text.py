"""A text classifier: reviews of one or two sentences, words embedded, read by a GRU, as good or bad.

python examples/text.py                                      # trains; about 91 % of the held-out reviews
trainlint scan examples/text.py                              # clean
trainlint scan examples/text.py -- --bug sorted              # all bad reviews first, then all good ones, never shuffled
"""

import argparse
import random

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

THINGS = ["film", "plot", "music", "ending", "acting", "script", "camera", "dialogue", "story", "cast"]
WORDS = {
    1: ["great", "moving", "clever", "warm", "superb", "funny", "fresh", "gripping"],
    0: ["dull", "weak", "clumsy", "cold", "awful", "flat", "stale", "boring"],
}
FILLER = [
    "the",
    "a",
    "this",
    "that",
    "was",
    "felt",
    "really",
    "quite",
    "and",
    "with",
    "its",
    "of",
    "in",
    "on",
    "we",
    "saw",
    "it",
    "for",
    "an",
    "evening",
]


def review(good: int, draw: random.Random) -> str:
    words = []
    for _ in range(draw.randint(2, 4)):
        opinion = draw.choice(WORDS[good if draw.random() < 0.85 else 1 - good])  # people are of two minds
        words += [*draw.sample(FILLER, draw.randint(1, 4)), draw.choice(THINGS), draw.choice(FILLER), opinion]
    return " ".join(words)


class Reviews(Dataset):
    def __init__(self, size: int, seed: int, vocabulary: dict[str, int]) -> None:
        draw = random.Random(seed)
        self.labels = [index % 2 for index in range(size)]
        self.texts = [review(label, draw) for label in self.labels]
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([self.vocabulary[word] for word in self.texts[index].split()]), self.labels[index]

    def sort(self) -> None:
        order = sorted(range(len(self.texts)), key=lambda index: self.labels[index])
        self.texts, self.labels = [self.texts[i] for i in order], [self.labels[i] for i in order]


def collate(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Word ids (B, T) padded with 0, their numbers (B,), and labels (B,)."""
    ids, labels = zip(*samples, strict=True)
    return pad_sequence(ids, batch_first=True), torch.tensor([len(words) for words in ids]), torch.tensor(labels)


class Reader(nn.Module):
    def __init__(self, words: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.gru(packed)[1][-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--bug", choices=["sorted"])
    args = parser.parse_args()

    torch.manual_seed(0)
    words = sorted({*THINGS, *WORDS[0], *WORDS[1], *FILLER})
    vocabulary = {word: index for index, word in enumerate(words, 1)}
    train, val = Reviews(2000, 1, vocabulary), Reviews(500, 2, vocabulary)
    if args.bug == "sorted":
        train.sort()
    train_loader = DataLoader(train, batch_size=32, shuffle=args.bug != "sorted", collate_fn=collate)
    val_loader = DataLoader(val, batch_size=128, collate_fn=collate)
    model = Reader(len(words) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(args.epochs):
        model.train()
        for ids, lengths, labels in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(ids, lengths), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = torch.cat([model(ids, lengths).argmax(1) == labels for ids, lengths, labels in val_loader])
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation accuracy {hits.float().mean():.3f}")


if __name__ == "__main__":
    main()
