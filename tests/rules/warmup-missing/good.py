"""Which of four words is hidden in a row of letters? A transformer with norms after the sums, trained from scratch."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LETTERS, LENGTH, WORDS = 32, 24, 4


def rows(count, seed):
    """Letters (count, LENGTH) with a word of three letters somewhere, and which one (count,)."""
    g = torch.Generator().manual_seed(seed)
    words = torch.randint(LETTERS, (WORDS, 3), generator=torch.Generator().manual_seed(7))
    letters = torch.randint(LETTERS, (count, LENGTH), generator=g)
    word = torch.randint(WORDS, (count,), generator=g)
    for i, start in enumerate(torch.randint(LENGTH - 3, (count,), generator=g).tolist()):
        letters[i, start : start + 3] = words[word[i]]
    return letters, word


class Reader(nn.Module):
    def __init__(self, width=64, layers=8):
        super().__init__()
        self.letters = nn.Embedding(LETTERS, width)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, WORDS)

    def forward(self, letters):
        return self.out(self.encoder(self.letters(letters) + self.places).mean(dim=1))


def main(epochs=6):
    torch.manual_seed(0)
    train_loader = DataLoader(TensorDataset(*rows(1600, seed=3)), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(*rows(400, seed=4)), batch_size=100)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=60)
    for epoch in range(epochs):
        model.train()
        for letters, word in train_loader:
            loss = nn.functional.cross_entropy(model(letters), word)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm_up.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(letters).argmax(1) == word).sum().item() for letters, word in val_loader)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {right / len(val_loader.dataset):.3f} right")


if __name__ == "__main__":
    main()
