"""A divergence summed over latent values is told from one that is balanced with its reconstruction, in whatever spelling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from probes.recorded import measured, train
from trainlint.measurements import Loss
from trainlint.probes.step.loss import measure_loss

SIZE, WIDTH, LATENT = 16, 40, 4


def formula(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 1 + log_variance - mean.pow(2) - log_variance.exp()


def sampled(combine) -> Loss:
    """The loss of an autoencoder; ``combine`` adds it up from the outputs, the inputs, and the latent mean and log-variance."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(WIDTH, 2 * LATENT), nn.Linear(LATENT, WIDTH)

    def loss(model, batch):
        mean, log_variance = encoder(batch[0]).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return combine(decoder(latent), batch[0], mean, log_variance)

    return measured(measure_loss, train(nn.ModuleList([encoder, decoder]), [(torch.rand(SIZE, WIDTH),) for _ in range(8)], loss))


@pytest.mark.parametrize(
    "combine",
    [
        lambda y, x, m, v: F.binary_cross_entropy_with_logits(y, x) - 0.5 * formula(m, v).sum(dim=1).mean(),
        lambda y, x, m, v: F.binary_cross_entropy_with_logits(y, x) + torch.mean(-0.5 * torch.sum(formula(m, v), dim=1), dim=0),
        lambda y, x, m, v: F.binary_cross_entropy_with_logits(y, x) - 0.5 * formula(m, v).sum() / SIZE,
        lambda y, x, m, v: F.binary_cross_entropy_with_logits(y, x) + (0.5 * (m * m + v.exp() - 1 - v)).sum(1).mean(),
        lambda y, x, m, v: F.l1_loss(y, x) + kl_divergence(Normal(m, (v / 2).exp()), Normal(0.0, 1.0)).sum(-1).mean(),
    ],
)
def test_a_sum_over_latent_values_beside_a_mean_over_those_of_a_sample(combine):
    found = sampled(combine)
    assert found.divergence_where is not None
    assert 0.5 <= found.divergence_factor <= 2
    assert found.divergence_excess == pytest.approx(WIDTH * found.divergence_factor)


def test_a_squared_error_counts_half_and_a_factor_counts():
    found = sampled(lambda y, x, m, v: F.mse_loss(y, x) - 0.01 * 0.5 * formula(m, v).sum(1).mean())
    assert found.divergence_factor == pytest.approx(0.01)
    assert found.divergence_excess == pytest.approx(0.01 * WIDTH / 2)


@pytest.mark.parametrize(
    "combine",
    [
        lambda y, x, m, v: F.mse_loss(y, x, reduction="sum") / SIZE - 0.5 * formula(m, v).sum(1).mean(),
        lambda y, x, m, v: F.mse_loss(y, x) - 0.5 * formula(m, v).mean(),
        lambda y, x, m, v: F.mse_loss(y, x) + (m**2).sum(1).mean(),
        lambda y, x, m, v: F.mse_loss(y, x) + (y.pow(2) + y.exp()).sum(1).mean(),
    ],
)
def test_terms_reduced_alike_and_penalties_of_other_kinds(combine):
    assert sampled(combine).divergence_where is None
