"""Rent of flats from a table: one row a flat, the rent in the last column but one, the year of the survey in the last."""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RENT, YEAR = -2, -1


def survey(n, seed):
    rng = np.random.default_rng(seed)
    area, rooms, age = rng.uniform(20, 140, n), rng.integers(1, 6, n), rng.uniform(0, 100, n)
    distance, balcony = rng.exponential(4, n), rng.integers(0, 2, n)
    rent = 6 * area + 40 * rooms - 1.5 * age - 25 * distance + 60 * balcony + 0.02 * area * (100 - age) + rng.normal(0, 25, n)
    return np.stack([area, rooms, age, distance, balcony, rent, np.full(n, 2024)], axis=1)


def standardise(table, reference):
    spread = reference.std(axis=0)
    return torch.tensor((table - reference.mean(axis=0)) / np.where(spread > 0, spread, 1), dtype=torch.float32)


def evaluate(model, loader):
    model.eval()
    error = total = 0.0
    with torch.no_grad():
        for features, target in loader:
            error += (model(features) - target).square().sum().item()
            total += target.square().sum().item()
    return error, total


def main():
    torch.manual_seed(0)
    raw_train, raw_val = survey(2000, seed=1), survey(500, seed=2)
    train, val = standardise(raw_train, raw_train), standardise(raw_val, raw_train)
    train_loader = DataLoader(TensorDataset(train[:, :RENT], train[:, [RENT]]), batch_size=50, shuffle=True)
    val_loader = DataLoader(TensorDataset(val[:, :RENT], val[:, [RENT]]), batch_size=100)

    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_fn = nn.MSELoss()
    for epoch in range(8):
        model.train()
        running = 0.0
        for features, target in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(features), target)
            loss.backward()
            optimizer.step()
            running += loss.item() / len(train_loader)
        error, total = evaluate(model, val_loader)
        print(f"epoch {epoch}: train mse {running:.4f}, val mse {error / 500:.4f}, val r2 {1 - error / max(total, 1e-9):.4f}")


if __name__ == "__main__":
    main()
