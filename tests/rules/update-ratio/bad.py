"""A character model of a small grammar, trained on random windows of a text without a DataLoader."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(0)
torch.manual_seed(0)

# -- a text with structure: subject verb object, with agreement ----------------------------------------------------
subjects = ["the cat", "a dog", "my friend", "the old man"]
verbs = ["sees", "likes", "follows", "paints"]
objects = ["the moon", "a red house", "some fish", "the river"]
text = " ".join(f"{random.choice(subjects)} {random.choice(verbs)} {random.choice(objects)}." for _ in range(1500))
chars = sorted(set(text))
index = {c: i for i, c in enumerate(chars)}
data = torch.tensor([index[c] for c in text])
split = int(0.9 * len(data))
train_data, val_data = data[:split], data[split:]

block_size, batch_size, steps, eval_every = 48, 32, 300, 100


def get_batch(source):
    starts = torch.randint(len(source) - block_size - 1, (batch_size,))
    x = torch.stack([source[i : i + block_size] for i in starts])
    y = torch.stack([source[i + 1 : i + 1 + block_size] for i in starts])
    return x, y


class CharModel(nn.Module):
    def __init__(self, vocabulary, width=64):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        states, _ = self.rnn(self.embed(x))
        return self.head(F.gelu(self.mix(states)))


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = []
    for _ in range(5):
        x, y = get_batch(val_data)
        losses.append(F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item())
    model.train()
    return sum(losses) / len(losses)


model = CharModel(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-8)  # fault: update-ratio
for step in range(steps):
    x, y = get_batch(train_data)
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if (step + 1) % eval_every == 0:
        print(f"step {step + 1}: train {loss.item():.3f}, validation {estimate_loss():.3f}")
