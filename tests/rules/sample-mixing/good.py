"""Does the first token come again later in the sequence? A small transformer encoder that answers from its first position."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

VOCAB, LENGTH, EPOCHS, BATCH = 12, 10, 8, 64


def make_sequences(n, seed):
    g = torch.Generator().manual_seed(seed)
    rest = torch.randint(1, VOCAB, (n, LENGTH - 1), generator=g)
    first = torch.randint(1, VOCAB, (n,), generator=g)
    again = torch.rand(n, generator=g) < 0.5
    rest[rest == first[:, None]] = 0
    place = torch.randint(LENGTH - 1, (n,), generator=g)
    rest[torch.arange(n)[again], place[again]] = first[again]
    return TensorDataset(torch.cat([first[:, None], rest], dim=1), again.long())


class Recall(nn.Module):
    def __init__(self, width=32, heads=2, layers=2):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, width)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, heads, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)

    def forward(self, ids):
        h = self.tokens(ids) + self.positions
        h = self.encoder(h)
        return self.head(self.norm(h[:, 0]))


def evaluate(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(ids).argmax(1) == again).sum().item() for ids, again in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    train_loader = DataLoader(make_sequences(4000, seed=1), batch_size=BATCH, shuffle=True)
    val_loader = DataLoader(make_sequences(800, seed=2), batch_size=200)
    model = Recall()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=EPOCHS * len(train_loader))
    for epoch in range(EPOCHS):
        model.train()
        for ids, again in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(ids), again)
            loss.backward()
            optimizer.step()
            scheduler.step()
        print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {evaluate(model, val_loader):.3f}")


if __name__ == "__main__":
    main()
