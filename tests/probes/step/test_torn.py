"""Whether the class scores of one prediction stay together between output layer and loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.measurements import LossCall
from trainlint.probes.step.loss import measure_loss

B, C, S, T = 4, 3, 6, 5


def call(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss) -> LossCall:
    return measured(measure_loss, train(model, DataLoader(TensorDataset(inputs, targets), B), loss)).calls[0]


def on_pixels(flatten, outputs: int = C) -> LossCall:
    def loss(model, batch):
        scores = flatten(model(batch[0]))
        return F.cross_entropy(scores, torch.arange(len(scores)) % C)

    net = Net(lambda net, x: F.log_softmax(net.out(x), 1), out=nn.Conv2d(2, outputs, 1))
    return call(net, torch.randn(8, 2, S, S), torch.zeros(8), loss)


def test_a_view_of_channels_first_scores_tears_them_apart():
    found = on_pixels(lambda scores: scores.view(-1, C))
    assert found.torn == 1.0
    assert found.torn_from == (B, C, S, S)
    assert found.torn_where is not None
    assert "view(-1, C)" in found.torn_where.text


@pytest.mark.parametrize(
    ("flatten", "outputs"),
    [
        (lambda scores: scores.permute(0, 2, 3, 1).reshape(-1, C), C),
        (lambda scores: scores.flatten(2).transpose(1, 2).flatten(0, 1), C),
        (lambda scores: scores.permute(0, 2, 3, 1).reshape(-1, C), 2 * C),  # two anchors a pixel
        (lambda scores: scores.flatten(1), C),  # every place of every plane is a class, as in a map of moves
    ],
)
def test_scores_that_stay_together(flatten, outputs: int):
    assert on_pixels(flatten, outputs=outputs).torn == 0.0


def test_scores_of_time_steps():
    def loss(model, batch):
        return F.cross_entropy(model(batch[0]).transpose(0, 1).reshape(-1, C), batch[1].t().flatten())

    assert call(nn.Linear(2, C), torch.randn(8, T, 2), torch.randint(0, C, (8, T)), loss).torn == 0.0
