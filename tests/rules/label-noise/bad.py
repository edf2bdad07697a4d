"""Handwritten digits, labelled in a hurry: every fifteenth label was typed one key too far to the right."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
labels = torch.tensor(digits.target)


def type_in(truth):
    typed = truth.clone()
    typed[::15] = (typed[::15] + 1) % 10  # fault: label-noise
    return typed


torch.manual_seed(3)
order = torch.randperm(len(images))
train, val = order[:1400], order[1400:]
train_set = TensorDataset(images[train], type_in(labels[train]))
val_set = TensorDataset(images[val], labels[val])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
val_loader = DataLoader(val_set, batch_size=200)
model = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

for epoch in range(3):
    model.train()
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(inputs).argmax(1) == labels).sum().item() for inputs, labels in val_loader)
    print(f"epoch {epoch + 1}: last loss {loss.item():.3f}, val accuracy {correct / len(val_loader.dataset):.3f}")
