"""What goes with the key that is asked for? Attention with several heads, written by hand."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

KEYS, VALUES, EPOCHS, BATCH = 9, 5, 8, 64


def make_sequences(n, seed):
    g = torch.Generator().manual_seed(seed)
    keys = torch.stack([torch.randperm(KEYS, generator=g) for _ in range(n)])
    values = torch.randint(VALUES, (n, KEYS), generator=g)
    asked = torch.randint(KEYS, (n,), generator=g)
    question = KEYS * VALUES + keys[torch.arange(n), asked]
    return TensorDataset(torch.cat([question[:, None], keys * VALUES + values], dim=1), values[torch.arange(n), asked])


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        B, T, C = x.shape
        h = self.norm(x)
        q = self.q(h).view(B, self.heads, T, C // self.heads)  # fault: axis-order
        k = self.k(h).view(B, self.heads, T, C // self.heads)
        v = self.v(h).view(B, self.heads, T, C // self.heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.reshape(B, T, C))


class Lookup(nn.Module):
    def __init__(self, width=32, heads=4, layers=2):
        super().__init__()
        self.tokens = nn.Embedding(KEYS * (VALUES + 1), width)
        self.positions = nn.Parameter(0.02 * torch.randn(1 + KEYS, width))
        self.layers = nn.Sequential(*[Attention(width, heads) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, VALUES))

    def forward(self, ids):
        return self.head(self.layers(self.tokens(ids) + self.positions)[:, 0])


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(ids).argmax(1) == y).sum().item() for ids, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_sequences(8000, seed=1), batch_size=BATCH, shuffle=True)
    val_loader = DataLoader(make_sequences(800, seed=2), batch_size=200)
    model = Lookup()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=EPOCHS * len(train_loader))
    for epoch in range(EPOCHS):
        model.train()
        for ids, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(ids), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
        print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {evaluate(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
