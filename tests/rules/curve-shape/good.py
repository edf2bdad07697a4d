"""The same network with data enough, and a learning rate that ends at zero."""

import csv

import torch
from torch import nn

torch.manual_seed(0)
x, x_val = torch.randn(4000, 20), torch.randn(400, 20)
y, y_val = (x[:, 0] + torch.randn(4000) > 0).long(), (x_val[:, 0] + torch.randn(400) > 0).long()

model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
loss_fn = nn.CrossEntropyLoss()

with open("metrics.csv", "w", newline="") as file:
    log = csv.writer(file)
    log.writerow(["epoch", "train_loss", "val_loss", "lr"])
    for epoch in range(80):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            log.writerow([epoch, loss.item(), loss_fn(model(x_val), y_val).item(), scheduler.get_last_lr()[0]])
