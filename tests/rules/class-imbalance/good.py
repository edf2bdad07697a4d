"""Finds the rare heartbeats with an extra wave: one-dimensional convolutions on short recordings, 4 % positives."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

LENGTH = 96


class Heartbeats(Dataset):
    def __init__(self, count, seed, share=0.04):
        rng = np.random.default_rng(seed)
        time = np.linspace(0, 1, LENGTH)
        self.labels = torch.zeros(count)
        self.labels[torch.as_tensor(rng.permutation(count)[: int(share * count)])] = 1
        beats = rng.normal(0, 0.18, (count, LENGTH))
        for beat, rare in zip(beats, self.labels):
            beat += np.exp(-(((time - rng.uniform(0.3, 0.4)) / 0.03) ** 2)) * rng.uniform(1.4, 1.8)
            beat += np.exp(-(((time - rng.uniform(0.65, 0.75)) / 0.06) ** 2)) * rng.uniform(0.4, 0.7)
            if rare:
                beat -= np.exp(-(((time - rng.uniform(0.45, 0.6)) / 0.02) ** 2)) * rng.uniform(0.4, 0.7)
        self.beats = torch.tensor(beats / 0.5, dtype=torch.float32).unsqueeze(1)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.beats[index], self.labels[index]


class BeatNet(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.first = nn.Conv1d(1, width, 7, padding=3)
        self.second = nn.Conv1d(width, width, 5, padding=2)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        x = F.max_pool1d(F.relu(self.first(x)), 2)
        return self.out(F.relu(self.second(x)).amax(dim=2)).squeeze(1)


def evaluate(model, loader):
    model.eval()
    found = false = 0
    with torch.no_grad():
        for x, y in loader:
            hit = model(x) > 0
            found, false = found + (hit & (y == 1)).sum().item(), false + (hit & (y == 0)).sum().item()
    rare = loader.dataset.labels.sum().item()
    return found / rare, 1 - false / (len(loader.dataset) - rare)


torch.manual_seed(4)
train_set, val_set = Heartbeats(2400, seed=1), Heartbeats(1000, seed=2)
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
val_loader = DataLoader(val_set, batch_size=250)
weight = (train_set.labels == 0).sum() / train_set.labels.sum()
model = BeatNet()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(5):
    model.train()
    for x, y in train_loader:
        loss = F.binary_cross_entropy_with_logits(model(x), y, pos_weight=weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    recall, specificity = evaluate(model, val_loader)
    print(f"epoch {epoch + 1}: recall {recall:.3f}, specificity {specificity:.3f}, balanced accuracy {(recall + specificity) / 2:.3f}")
