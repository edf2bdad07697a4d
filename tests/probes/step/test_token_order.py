"""Whether another order of tokens changes what is predicted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probes.mixed import B, K, loader
from probes.recorded import Net, classify, measured, train
from trainlint.measurements import TokenOrder
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.step.token_order import measure_token_order

T, C, V = 8, 16, 11


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def share(forward, ids=None, loss=classify, labels=(), **layers) -> float | None:
    found = order(forward, ids, loss, labels, **layers)
    return found.change / found.effect if found.attends else None


def order(forward, ids=None, loss=classify, labels=(), **layers) -> TokenOrder:
    net = Net(forward, **{"tokens": nn.Embedding(V, C), "head": nn.Linear(C, K), "block": block()} | layers)
    ids = torch.randint(0, V, (B * 4, T)) if ids is None else ids
    return measured(measure_token_order, train(net, loader(ids, torch.randint(0, K, (B * 4, *labels))), loss))


def block() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(C, 2, 32, 0.1, batch_first=True), 1, enable_nested_tensor=False)


def by_hand(net: nn.Module, h: Tensor) -> Tensor:
    return h + torch.softmax(net.query(h) @ h.transpose(1, 2), -1) @ h


def rotated(h: Tensor) -> Tensor:
    angles = torch.arange(T)[:, None] * 0.5 ** torch.arange(C // 2)
    a, b = h.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


def token_by_token(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


@pytest.mark.parametrize(
    ("forward", "options"),
    [
        (lambda n, ids: n.head(n.block(n.tokens(ids)).mean(1)), {}),
        (lambda n, ids: n.head(n.block(n.tokens(ids))[:, 0]), {}),
        (lambda n, ids: n.head(by_hand(n, n.tokens(ids)).amax(1)), {"query": nn.Linear(C, C)}),
        (lambda n, ids: n.head(n.block(n.tokens(ids))), {"loss": token_by_token, "labels": (T,)}),
    ],
)
def test_attention_without_positions(forward, options):
    found = order(forward, **options)
    assert found.change < 1e-5 * found.effect
    assert found.by_sample is None


@pytest.mark.parametrize(
    "forward",
    [
        lambda n, ids: n.head(n.block(n.tokens(ids) + n.places.weight[: len(ids)].unsqueeze(1)).mean(1)),
        lambda n, ids: n.head(n.block(n.tokens(ids) + n.places(torch.arange(ids.shape[0]))[:, None]).mean(1)),
    ],
)
def test_positions_along_the_batch(forward):
    found = order(forward, places=nn.Embedding(T + B, C))
    assert found.change < 1e-5 * found.effect
    assert "n.places" in found.by_sample.text


@pytest.mark.parametrize(
    ("forward", "layers"),
    [
        (lambda n, ids: n.head(n.block(n.tokens(ids) + n.places.weight).mean(1)), {"places": nn.Embedding(T, C)}),
        (lambda n, ids: n.head(n.block(n.tokens(ids) + 0.1 * torch.sin(torch.arange(T * C).view(T, C))).mean(1)), {}),
        (lambda n, ids: n.head(n.block(n.tokens(ids), mask=nn.Transformer.generate_square_subsequent_mask(T)).mean(1)), {}),
        (lambda n, ids: n.head(n.block(n.conv(n.tokens(ids).mT).mT).mean(1)), {"conv": nn.Conv1d(C, C, 3, padding=1)}),
        (lambda n, ids: n.head(n.block(n.rnn(n.tokens(ids))[0]).mean(1)), {"rnn": nn.GRU(C, C, batch_first=True)}),
        (lambda n, ids: n.head((torch.softmax(rotated(n.q(n.tokens(ids))) @ rotated(n.q(n.tokens(ids))).mT, -1) @ n.tokens(ids)).mean(1)), {"q": nn.Linear(C, C)}),
        (lambda n, ids: n.head(n.block(n.tokens(ids)).flatten(1)), {"head": nn.Linear(T * C, K)}),
    ],
)  # fmt: skip
def test_models_that_know_the_order(forward, layers):
    assert share(forward, **layers) > 1e-3


def test_models_without_attention_are_not_tried():
    assert share(lambda n, ids: n.head(n.tokens(ids).mean(1))) is None


def lengths() -> Tensor:
    ids = torch.randint(1, V, (B * 4, T))
    return ids.masked_fill(torch.arange(T) >= torch.randint(3, T + 1, (B * 4, 1)), 0)


@pytest.mark.parametrize(
    ("reason", "ids", "layers"),
    [
        ("padded", lengths(), {}),
        ("column", torch.randint(0, 3, (B * 4, T)) + 3 * torch.arange(T), {"tokens": nn.Embedding(3 * T, C)}),
    ],
)
def test_padding_and_columns_of_a_table_are_not_judged(reason, ids, layers):
    with pytest.raises(CannotMeasureError, match=reason):
        share(lambda n, x: n.head(n.block(n.tokens(x)).mean(1)), ids, **layers)


def test_positions_that_begin_at_zero_are_not_judged():
    places = nn.Embedding(T, C)
    nn.init.zeros_(places.weight)
    with pytest.raises(CannotMeasureError, match="near zero"):
        share(lambda n, ids: n.head(n.block(n.tokens(ids) + places.weight).mean(1)), places=places)
