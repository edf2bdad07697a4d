from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, train
from trainlint.probes.data.sample_order import measure_sample_order

LABELS = torch.arange(24).repeat_interleave(8)


def triplets(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A margin between samples of other classes and of the same; 0 where there are none of either."""
    rows, labels = model(batch[0]), batch[1]
    apart, same = torch.cdist(rows, rows), labels[:, None] == labels[None]
    anchors, near = torch.where(same)
    far = (apart + same * 1e9).min(1).values
    return (apart[anchors, near] - far[anchors] + 0.1).clamp(min=0).mean()


@pytest.mark.parametrize(("each", "expected"), [(8, True), (4, False)])
def test_batches_of_one_value_are_told(each: int, expected: bool) -> None:
    torch.manual_seed(0)

    def draws() -> list[list[int]]:
        stretches = list(torch.arange(len(LABELS)).split(each))
        mixed = [stretches[i] for i in torch.randperm(len(stretches))]
        return [part.tolist() for part in torch.cat(mixed).split(8)]

    loader = DataLoader(TensorDataset(torch.randn(len(LABELS), 4), LABELS), batch_sampler=draws())
    seen = measured(measure_sample_order, train(nn.Linear(4, 3), loader, triplets))
    assert (seen.single_batches >= 4) is expected
    assert (seen.single_values >= 3) is expected
