from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, train
from trainlint.probes.step.loss import measure_loss

CODE = {
    "sum beside a mean": lambda out, x, code: F.mse_loss(out, x) + 5 * torch.sum(code**2),
    "mean beside a mean": lambda out, x, code: F.mse_loss(out, x) + 5 * (code**2).mean(),
    "sum for each sample": lambda out, x, code: F.mse_loss(out, x) + 5 * (code**2).sum(1).mean(),
    "sum divided by the batch": lambda out, x, code: F.mse_loss(out, x) + 5 * (code**2).sum() / 64,
    "both summed": lambda out, x, code: F.mse_loss(out, x, reduction="sum") + 5 * (code**2).sum(),
    "small weight": lambda out, x, code: F.mse_loss(out, x) + 1e-3 * (code**2).sum(),
}


@pytest.mark.parametrize("formula", CODE)
def test_a_sum_over_the_batch_beside_a_mean_is_told_from_terms_reduced_alike(formula):
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(6, 3), nn.Linear(3, 6)

    def loss(model, batch):
        code = encoder(batch[0])
        return CODE[formula](decoder(code), batch[0], code)

    found = measured(measure_loss, train(nn.Sequential(encoder, decoder), DataLoader(TensorDataset(torch.randn(128, 6)), 64), loss))
    assert (found.summed_where is not None) is (formula == "sum beside a mean")
    if found.summed_where is not None:
        assert found.summed_share > 0.5
