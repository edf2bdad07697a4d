"""Adapts a digit network to photographs of another scanner: the weights of a scikit-learn network, trained on 60 new pictures."""
import numpy as np
import torch
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def scanned(images, seed):
    """The pictures (n, 8, 8) as the new scanner sees them: tilted, and fainter."""
    rng = np.random.default_rng(seed)
    tilted = np.stack([rotate(image, rng.uniform(10, 25), reshape=False, order=1) for image in images])
    return tilted * 0.7 + rng.normal(0, 0.03, images.shape)


def tensors(images, labels):
    return TensorDataset(torch.tensor((images - 0.3) / 0.35, dtype=torch.float32).flatten(1), torch.tensor(labels))


def pretrained(images, labels):
    """State dict of a network like ``network()`` that scikit-learn has trained."""
    learned = MLPClassifier((64, 64), max_iter=40, random_state=0).fit((images.reshape(len(images), -1) - 0.3) / 0.35, labels)
    names = ("0", "2", "4")
    weights = {f"{n}.weight": torch.tensor(w.T, dtype=torch.float32) for n, w in zip(names, learned.coefs_)}
    return weights | {f"{n}.bias": torch.tensor(b, dtype=torch.float32) for n, b in zip(names, learned.intercepts_)}


def network():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


if __name__ == "__main__":
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = digits.images / 16, digits.target
    train_loader = DataLoader(tensors(scanned(images[1000:1060], 1), labels[1000:1060]), batch_size=20, shuffle=True)
    val_loader = DataLoader(tensors(scanned(images[1100:], 2), labels[1100:]), batch_size=200)
    model = network()
    model.load_state_dict(pretrained(images[:1000], labels[:1000]))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.9)  # fault: finetune-lr
    for epoch in range(12):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {right / len(val_loader.dataset):.3f}")
