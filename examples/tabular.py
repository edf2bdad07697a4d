"""Regression on a table: the progression of diabetes after a year from ten measurements of a patient, by a small MLP.

python examples/tabular.py                                   # trains; explains a third of the variance
trainlint scan examples/tabular.py                           # clean
trainlint scan examples/tabular.py -- --bug broadcast        # predictions (B, 1) against targets (B,)
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def tables() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation rows; features and target are standardised by the training part's statistics."""
    features, target = load_diabetes(return_X_y=True, scaled=False)
    parts = [torch.tensor(part, dtype=torch.float32) for part in train_test_split(features, target, test_size=0.25, random_state=0)]
    x_train, x_val, y_train, y_val = parts
    x_mean, x_std, y_mean, y_std = x_train.mean(0), x_train.std(0), y_train.mean(), y_train.std()
    return TensorDataset((x_train - x_mean) / x_std, (y_train - y_mean) / y_std), TensorDataset(
        (x_val - x_mean) / x_std, (y_val - y_mean) / y_std
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--bug", choices=["broadcast"])
    args = parser.parse_args()

    torch.manual_seed(0)
    train, val = tables()
    train_loader = DataLoader(train, batch_size=32, shuffle=True)
    val_loader = DataLoader(val, batch_size=256)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(args.epochs):
        model.train()
        for features, target in train_loader:
            optimizer.zero_grad()
            predicted = model(features) if args.bug == "broadcast" else model(features).squeeze(1)
            loss = F.mse_loss(predicted, target)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            errors = torch.cat([model(features).squeeze(1) - target for features, target in val_loader])
        print(f"epoch {epoch}: loss {loss.item():.3f}, validation R2 {1 - errors.square().mean() / val.tensors[1].var():.3f}")


if __name__ == "__main__":
    main()
