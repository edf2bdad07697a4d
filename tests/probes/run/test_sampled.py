"""Latents drawn with sample(), where rsample() was meant and where it was not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributions as D
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.measurements import GraphCut
from trainlint.probes.run.parameters import measure_parameters

LATENT = 3


def sampled(loss: Any, **layers: nn.Module) -> GraphCut | None:
    torch.manual_seed(0)
    x = torch.randn(16, 6)
    layers = {"body": nn.Linear(6, 8), "head": nn.Linear(8, 2 * LATENT), "out": nn.Linear(LATENT, 6), **layers}
    net = Net(lambda net, x: net.head(net.body(x).relu()), **layers)
    return measured(measure_parameters, train(net, DataLoader(TensorDataset(x, x[:, :LATENT].clone()), 8), loss)).sampled


def distribution(net: Any, x: Tensor) -> D.Normal:
    mean, log_variance = net(x).chunk(2, 1)
    return D.Normal(mean, (0.5 * log_variance).exp())


def divergence(q: D.Normal) -> Tensor:
    return D.kl_divergence(q, D.Normal(torch.zeros(LATENT), torch.ones(LATENT))).sum(1).mean()


def by_library(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(q.sample()), batch[0]) + divergence(q)


def by_formula(net: Any, batch: Any) -> Tensor:
    mean, log_variance = net(batch[0]).chunk(2, 1)
    z = D.Normal(mean, F.softplus(log_variance)).sample()
    rows = (net.out(z) - batch[0]).square().sum(1) - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
    return rows.mean()


def independent(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    z = D.Independent(q, 1).sample((2,)).mean(0)
    return -D.Normal(net.out(z), 1.0).log_prob(batch[0]).sum(1).mean() + 0.1 * divergence(q)


def conditional(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.wide(torch.cat([q.sample(), batch[1]], 1)), batch[0]) + divergence(q)


def log_normal(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(D.LogNormal(q.loc, q.scale).sample()), batch[0]) + divergence(q)


@pytest.mark.parametrize("loss", [by_library, by_formula, independent, conditional, log_normal])
def test_a_latent_that_only_the_divergence_teaches_is_found(loss: Any):
    found = sampled(loss, wide=nn.Linear(2 * LATENT, 6))
    assert found is not None
    assert found.parameters == ("body.bias", "body.weight", "head.bias", "head.weight")
    assert found.where is not None
    assert "sample(" in found.where.text


def reparametrised(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(q.rsample()), batch[0]) + divergence(q)


def policy_gradient(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    action = q.sample()
    value = net.out(action).mean(1)
    return -(q.log_prob(action).sum(1) * value.detach()).mean() + F.mse_loss(value, batch[1][:, 0]) - 0.01 * q.entropy().mean()


def straight_through(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    z = q.mean + (q.sample() - q.mean).detach()
    return F.mse_loss(net.out(z), batch[0]) + divergence(q)


def fitted(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.gaussian_nll_loss(q.mean, batch[1], q.variance) + F.mse_loss(net.out(q.sample()), batch[0])


def critic_alone(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(q.sample()), batch[0]) + 0.0 * F.mse_loss(q.mean, batch[1])


def target_alone(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(batch[1]), net.out(q.sample()).detach()) + divergence(q)


def mean_is_read_too(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    return F.mse_loss(net.out(q.sample()) + net.out(q.mean), batch[0]) + divergence(q)


def discrete(net: Any, batch: Any) -> Tensor:
    q = D.OneHotCategorical(logits=net(batch[0])[:, :LATENT])
    return F.mse_loss(net.out(q.sample()), batch[0]) - 0.01 * q.entropy().mean()


def from_the_prior(net: Any, batch: Any) -> Tensor:
    z = D.Normal(torch.zeros(len(batch[0]), LATENT), 1.0).sample()
    return F.mse_loss(net.out(z), batch[0]) + divergence(distribution(net, batch[0]))


def without_on_purpose(net: Any, batch: Any) -> Tensor:
    q = distribution(net, batch[0])
    with torch.no_grad():
        z = q.sample()
    return F.mse_loss(net.out(z), batch[0]) + divergence(q)


@pytest.mark.parametrize(
    "loss",
    [
        reparametrised, policy_gradient, straight_through, fitted, critic_alone, target_alone, mean_is_read_too, discrete, from_the_prior,
        without_on_purpose,
    ],
)  # fmt: skip
def test_draws_that_need_no_gradient_are_left_alone(loss: Any):
    assert sampled(loss) is None
