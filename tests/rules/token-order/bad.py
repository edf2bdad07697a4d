"""Which of two marks comes first? A small transformer encoder, the mean read."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

VOCAB, LENGTH, EPOCHS, BATCH = 12, 10, 5, 64


def make_sequences(n, seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, VOCAB, (n, LENGTH), generator=g)
    places = torch.stack([torch.randperm(LENGTH, generator=g)[:2] for _ in range(n)])
    ids.scatter_(1, places, torch.tensor([0, 1]).expand(n, 2))
    return TensorDataset(ids, (places[:, 0] < places[:, 1]).long())


class Encoder(nn.Module):
    def __init__(self, width=32, heads=4, layers=2):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, width)
        layer = nn.TransformerEncoderLayer(width, heads, 64, dropout=0.0, norm_first=True, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))

    def forward(self, ids):
        h = self.tokens(ids)  # fault: token-order
        return self.head(self.encoder(h).mean(1))


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(ids).argmax(1) == y).sum().item() for ids, y in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_sequences(6000, seed=1), batch_size=BATCH, shuffle=True)
    val_loader = DataLoader(make_sequences(800, seed=2), batch_size=200)
    model = Encoder()
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
