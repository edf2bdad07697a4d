"""Takes the noise out of curves: an autoencoder with layer norm, trained for the clean curve."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

POINTS = 48


class Curves(Dataset):
    """Sums of two sines; item: the noisy curve and the clean one."""

    def __init__(self, count, seed):
        g = torch.Generator().manual_seed(seed)
        x = torch.linspace(0, 1, POINTS)
        amplitude, phase = torch.rand(count, 2, 1, generator=g) + 0.3, 2 * math.pi * torch.rand(count, 2, 1, generator=g)
        cycles = torch.randint(1, 4, (count, 2, 1), generator=g)
        self.clean = (amplitude * torch.sin(2 * math.pi * cycles * x + phase)).sum(dim=1)
        self.noisy = self.clean + 0.5 * torch.randn(self.clean.shape, generator=g)

    def __len__(self):
        return len(self.clean)

    def __getitem__(self, index):
        return self.noisy[index], self.clean[index]


class Autoencoder(nn.Module):
    def __init__(self, width=96, code=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(POINTS, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, POINTS))

    def forward(self, curve):
        return self.decoder(self.encoder(curve))


@torch.no_grad()
def error(model, loader):
    model.eval()
    return sum(nn.functional.mse_loss(model(noisy), clean, reduction="sum").item() for noisy, clean in loader) / len(loader.dataset) / POINTS


if __name__ == "__main__":
    torch.manual_seed(0)
    train_loader = DataLoader(Curves(2400, seed=1), batch_size=40, shuffle=True)
    val_loader = DataLoader(Curves(400, seed=2), batch_size=100)
    model, loss_fn = Autoencoder(), nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.2)  # fault: decay-groups
    for epoch in range(8):
        model.train()
        for noisy, clean in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(noisy), clean)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: last loss {loss.item():.4f}, val mse {error(model, val_loader):.4f} (noise 0.25)")
