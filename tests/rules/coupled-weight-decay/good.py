"""Which note is sung? A recurrent net on short tones with overtones, learning rate on one cycle."""
import argparse
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NOTES, FRAMES, SAMPLES = 6, 16, 8


def tones(count, seed):
    """Tones of one of six pitches in noise, cut into frames: (N, frames, samples a frame)."""
    g = torch.Generator().manual_seed(seed)
    notes = torch.randint(NOTES, (count,), generator=g)
    time = torch.arange(FRAMES * SAMPLES) / 128
    pitch = 6.0 * 2 ** (notes[:, None] / 4)
    phase = 2 * math.pi * torch.rand(count, 2, generator=g)
    wave = torch.sin(2 * math.pi * pitch * time + phase[:, :1]) + 0.5 * torch.sin(4 * math.pi * pitch * time + phase[:, 1:])
    wave = wave + 0.6 * torch.randn(wave.shape, generator=g)
    return wave.view(count, FRAMES, SAMPLES), notes


class Listener(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.frames = nn.Linear(SAMPLES, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, NOTES)

    def forward(self, wave):
        states, _ = self.gru(torch.relu(self.frames(wave)))
        return self.head(states.mean(dim=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--decay", type=float, default=0.1)
    opt = parser.parse_args()
    torch.manual_seed(0)
    train_loader = DataLoader(TensorDataset(*tones(1600, seed=1)), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(*tones(400, seed=2)), batch_size=100)
    model = Listener()
    criterion = nn.CrossEntropyLoss()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": opt.decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=opt.lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=opt.lr, total_steps=opt.epochs * len(train_loader))
    for epoch in range(opt.epochs):
        model.train()
        running = 0.0
        for wave, note in train_loader:
            loss = criterion(model(wave), note)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            running += loss.item() / len(train_loader)
        model.eval()
        with torch.no_grad():
            correct = sum((model(wave).argmax(1) == note).sum().item() for wave, note in val_loader)
        print(f"epoch {epoch + 1}: train loss {running:.3f}, val accuracy {correct / len(val_loader.dataset):.3f}")


if __name__ == "__main__":
    main()
