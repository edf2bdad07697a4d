"""Character-level language model over sentences of a small grammar: GRU with tied embeddings, batches cut from one long text."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(0)
torch.manual_seed(0)

articles, adjectives = ["the", "a", "every"], ["small", "green", "old", "quiet", "heavy"]
nouns, verbs = ["dog", "house", "river", "teacher", "wagon", "bird"], ["sees", "finds", "follows", "likes"]


def phrase():
    return f"{random.choice(articles)} {random.choice(adjectives)} {random.choice(nouns)}"


text = " ".join(f"{phrase()} {random.choice(verbs)} {phrase()}." for _ in range(2000))
chars = sorted(set(text))
data = torch.tensor([chars.index(c) for c in text])
split = int(0.9 * len(data))
train_data, val_data = data[:split], data[split:]
block, batch_size = 32, 32


def get_batch(source):
    starts = torch.randint(len(source) - block - 1, (batch_size,))
    x = torch.stack([source[s : s + block] for s in starts])
    y = torch.stack([source[s + 1 : s + block + 1] for s in starts])
    return x, y


class CharGRU(nn.Module):
    def __init__(self, vocab, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocab, width)  # fault: init-loss
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        h, _ = self.rnn(self.embed(tokens))
        return self.head(self.norm(h))


model = CharGRU(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
val_batches = [get_batch(val_data) for _ in range(10)]

for epoch in range(3):
    model.train()
    for step in range(80):
        x, y = get_batch(train_data)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch == step == 0:
            print(f"first loss {loss.item():.2f}")
    model.eval()
    with torch.no_grad():
        val = sum(F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item() for x, y in val_batches) / len(val_batches)
    print(f"epoch {epoch + 1}: train {loss.item():.3f}  val {val:.3f} nats per character")
