"""Embeddings that are multiplied with each other are found behind a loss's input, and only where nothing brings them to scale."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from probes.recorded import Net, measured, train
from trainlint.probes.step.loss import measure_loss


def machine(net, u, f):
    """A factorisation machine's square of the sum less the sum of the squares."""
    rows = torch.stack([net.user(u), net.film(f)], 1)
    return 0.5 * (rows.sum(1).pow(2) - rows.pow(2).sum(1)).sum(1)


@pytest.mark.parametrize(
    ("predict", "found"),
    [
        (lambda n, u, f: 3.0 + (n.user(u) * n.film(f)).sum(1) + n.bias(u).squeeze(1), True),
        (lambda n, u, f: torch.einsum("nd,nd->n", n.user(u), n.film(f)), True),
        (lambda n, u, f: torch.bmm(n.user(u).unsqueeze(1), n.film(f).unsqueeze(2)).reshape(-1), True),
        (lambda n, u, f: (n.user.weight[u] * n.film.weight[f]).sum(-1), True),
        (machine, True),
        (lambda n, u, f: n.head(torch.cat([n.user(u), n.film(f)], 1)).squeeze(1), False),
        (lambda n, u, f: (F.normalize(n.user(u)) * F.normalize(n.film(f))).sum(1), False),
        (lambda n, u, f: (n.user(u) * torch.sigmoid(n.film(f))).sum(1), False),
        (lambda n, u, f: (n.user(u) + n.film(f)).sum(1) * 0.5, False),
    ],
)
def test_products_of_embeddings(predict, found):
    torch.manual_seed(0)
    net = Net(predict, user=nn.Embedding(9, 6), film=nn.Embedding(7, 6), bias=nn.Embedding(9, 1), head=nn.Linear(12, 1))
    loader = [(torch.randint(9, (16,)), torch.randint(7, (16,)), torch.randn(16)) for _ in range(8)]
    recording = train(net, loader, lambda m, b: F.mse_loss(m(b[0], b[1]), b[2]))
    call = measured(measure_loss, recording).calls[0]
    assert (call.tables_width == 6) is found
    assert call.tables_scale == (pytest.approx(1.0, abs=0.3) if found else None)
