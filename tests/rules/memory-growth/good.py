"""Learns to tell two classes of noise apart, and keeps the features of the last epoch for a picture at the end."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
inputs = torch.randn(1024, 32)
targets = (inputs[:, 0] > 0).long()
loader = DataLoader(TensorDataset(inputs, targets), batch_size=128, shuffle=True)
body, head = nn.Sequential(nn.Linear(32, 4096), nn.ReLU()), nn.Linear(4096, 2)
optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=1e-3)

for epoch in range(7):
    features = []
    for x, y in loader:
        hidden = body(x)
        features.append(hidden.detach())
        loss = nn.functional.cross_entropy(head(hidden), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(len(features))
