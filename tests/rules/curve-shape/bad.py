"""A network that learns forty noisy samples by heart, and the log that shows it."""

import csv

import torch
from torch import nn

torch.manual_seed(0)
x, x_val = torch.randn(40, 20), torch.randn(400, 20)
y, y_val = (x[:, 0] + torch.randn(40) > 0).long(), (x_val[:, 0] + torch.randn(400) > 0).long()

model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loss_fn = nn.CrossEntropyLoss()

with open("metrics.csv", "w", newline="") as file:
    log = csv.writer(file)
    log.writerow(["epoch", "train_loss", "val_loss"])
    for epoch in range(80):  # fault: curve-shape
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            log.writerow([epoch, loss.item(), loss_fn(model(x_val), y_val).item()])
