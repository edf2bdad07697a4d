"""An autoencoder for digits, with warm-up and cosine decay after every batch."""

import math

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCH_SIZE, LR = 10, 64, 3e-3
torch.manual_seed(0)

pixels = torch.tensor(load_digits().data, dtype=torch.float32)
pixels = pixels[torch.randperm(len(pixels))]
pixels = (pixels - pixels[:1500].mean()) / pixels[:1500].std()
train_loader = DataLoader(TensorDataset(pixels[:1500]), batch_size=BATCH_SIZE, shuffle=True)
val_loader = DataLoader(TensorDataset(pixels[1500:]), batch_size=BATCH_SIZE)


class AutoEncoder(nn.Module):
    def __init__(self, code=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, code))
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, x):
        return self.decoder(self.encoder(x))


total_steps = EPOCHS * len(train_loader)
warmup_steps = total_steps // 10


def factor(step):
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


model = AutoEncoder()
criterion = nn.MSELoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

for epoch in range(EPOCHS):
    model.train()
    for (batch,) in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(batch), batch)
        loss.backward()
        optimizer.step()
        scheduler.step()

    model.eval()
    with torch.no_grad():
        error = sum(criterion(model(batch), batch).item() * len(batch) for (batch,) in val_loader) / len(val_loader.dataset)
    print(f"epoch {epoch}: train {loss.item():.4f}, validation {error:.4f}, lr {scheduler.get_last_lr()[0]:.2e}")
