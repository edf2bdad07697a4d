"""Targets that stand in their own input."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from probes.recorded import measured, train
from trainlint.probes.labels.labels import measure_labels


class Windows(Dataset):
    def __init__(self, ahead: int) -> None:
        self.series = torch.randn(400, generator=torch.Generator().manual_seed(0)).cumsum(0)
        self.ahead = ahead

    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int):
        x = self.series[index : index + 12]
        y = self.series[index + 11 + self.ahead]  # what is picked
        return x.unsqueeze(-1), y.unsqueeze(0)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_target_within_its_window_is_told(ahead):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    loader = DataLoader(Windows(ahead), 20, shuffle=True)
    found = measured(measure_labels, train(model, loader, lambda m, b: (m(b[0]) - b[1]).square().mean())).given_away
    assert (found is not None) == (ahead == 0)
    if found is not None:
        assert (found.at, found.shape) == ((11, 0), (12, 1))
        assert found.where.text.endswith("# what is picked")
