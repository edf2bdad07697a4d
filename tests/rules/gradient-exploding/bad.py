"""A plain recurrent network that reads a digit pixel by pixel."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PixelRNN(nn.Module):
    def __init__(self, hidden=64, classes=10):
        super().__init__()
        self.rnn = nn.RNN(1, hidden, batch_first=True)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain=2.0)
        self.head = nn.Linear(hidden, classes)

    def forward(self, pixels):
        states, _ = self.rnn(pixels)
        return self.head(states[:, -1])


def load_sequences():
    data, target = load_digits(return_X_y=True)
    pixels = torch.tensor(data, dtype=torch.float32).unsqueeze(-1)
    pixels = (pixels - pixels.mean()) / pixels.std()
    return pixels, torch.tensor(target)


def fit(model, train_loader, val_loader, epochs, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for pixels, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(pixels), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / len(train_loader):.3f}, validation accuracy {evaluate(model, val_loader):.3f}")


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    return sum((model(pixels).argmax(1) == labels).sum().item() for pixels, labels in loader) / len(loader.dataset)


def main():
    torch.manual_seed(0)
    pixels, labels = load_sequences()
    order = torch.randperm(len(labels))
    train, val = order[:1440], order[1440:]
    train_loader = DataLoader(TensorDataset(pixels[train], labels[train]), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(pixels[val], labels[val]), batch_size=128)
    model = PixelRNN()  # fault: gradient-exploding
    fit(model, train_loader, val_loader, epochs=8, lr=2e-3)


if __name__ == "__main__":
    main()
