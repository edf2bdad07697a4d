"""Digits by a small mixer of rows and columns with dropout; functions and a list of losses."""
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Mixer(nn.Module):
    def __init__(self, side=8, hidden=96, classes=10, dropout=0.3):
        super().__init__()
        self.rows = nn.Linear(side, side)
        self.columns = nn.Linear(side, side)
        self.hidden = nn.Linear(side * side, hidden)
        self.out = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + F.gelu(self.rows(x))
        x = x + F.gelu(self.columns(x.transpose(1, 2))).transpose(1, 2)
        x = self.dropout(x.flatten(1))
        return self.out(self.dropout(F.gelu(self.hidden(x))))


def load(batch_size):
    pixels, digits = load_digits(return_X_y=True)
    pixels = (torch.tensor(pixels, dtype=torch.float32).view(-1, 8, 8) - 4.88) / 6.02
    parts = random_split(TensorDataset(pixels, torch.tensor(digits)), [1437, 360], generator=torch.Generator().manual_seed(0))
    return DataLoader(parts[0], batch_size, shuffle=True), DataLoader(parts[1], 120)


def train(model, loader, optimizer):
    model.train()
    losses = []
    for images, digits in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), digits)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def validate(model, loader):
    model.eval()
    loss = correct = 0.0
    for images, digits in loader:
        scores = model(images)
        loss += F.cross_entropy(scores, digits, reduction="sum").item()
        correct += (scores.argmax(dim=1) == digits).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    torch.manual_seed(7)
    train_loader, val_loader = load(batch_size=32)
    model = Mixer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(1, 9):
        train_loss = train(model, train_loader, optimizer)
        val_loss, accuracy = validate(model, val_loader)
        print(f"epoch {epoch}: train loss {train_loss:.3f}, val loss {val_loss:.3f}, val accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
