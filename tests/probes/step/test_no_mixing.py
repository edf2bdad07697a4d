"""Sound pipelines, whose samples and tokens keep to themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

from probes.mixed import B, D, K, N, T, loader, mix, sequences
from probes.recorded import Net, classify


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def body(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def packed(net, x, lengths):
    sequence = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    output, _ = pad_packed_sequence(net.rnn(sequence)[0], batch_first=True, total_length=T)
    return net.head(output.sum(1))


def attention():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 1, enable_nested_tensor=False)


def triple(model, batch):
    return F.cross_entropy(model(batch[0], batch[1]), batch[2])


def in_bfloat16(model, batch):
    with torch.autocast("cpu", torch.bfloat16):
        return classify(model, batch)


def mixup(model, batch, share=0.7):
    x, y = batch
    order = torch.randperm(len(x))
    out = model(share * x + (1 - share) * x[order])
    return share * F.cross_entropy(out, y) + (1 - share) * F.cross_entropy(out, y[order])


def cutmix(model, batch):
    x, y = batch[0].clone(), batch[1]
    order = torch.randperm(len(x))
    x[:, :, :4] = x[order][:, :, :4]
    out = model(x)
    return 0.5 * F.cross_entropy(out, y) + 0.5 * F.cross_entropy(out, y[order])


SOUND = {
    "batch norm": (
        lambda: body(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(4 * 16, K)),
        lambda: loader(torch.randn(N, 1, 6, 6), torch.randint(0, K, (N,))), classify,
    ),
    "batch norm without running statistics": (
        lambda: body(nn.Linear(D, D), nn.BatchNorm1d(D, track_running_stats=False), nn.Linear(D, K)),
        lambda: loader(torch.randn(N, D), torch.randint(0, K, (N,))), classify,
    ),
    "recurrent, batch first": (
        lambda: Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=nn.LSTM(D, 7, batch_first=True), head=nn.Linear(7, K)),
        sequences, classify,
    ),
    "recurrent, time first by transpose": (
        lambda: Net(lambda net, x: net.head(net.rnn(x.transpose(0, 1))[0][-1]), rnn=nn.LSTM(D, 7), head=nn.Linear(7, K)),
        sequences, classify,
    ),
    "attention": (lambda: Net(lambda net, x: net.head(net.block(x).mean(1)), block=attention(), head=nn.Linear(D, K)), sequences, classify),
    "packed sequences": (
        lambda: Net(packed, rnn=nn.GRU(D, 7, batch_first=True), head=nn.Linear(7, K)),
        lambda: loader(torch.randn(N, T, D), torch.tensor([2, 5, 3, 1, 4, 5] * 8), torch.randint(0, K, (N,))), triple,
    ),
    "mixup": (lambda: nn.Linear(D, K), lambda: loader(torch.randn(N, D), torch.randint(0, K, (N,))), mixup),
    "mixup that leaves nothing of a sample": (
        lambda: nn.Linear(D, K), lambda: loader(torch.randn(N, D), torch.randint(0, K, (N,))), lambda m, b: mixup(m, b, 1e-9),
    ),
    "cutmix": (
        lambda: body(nn.Flatten(), nn.Linear(64, K)), lambda: loader(torch.randn(N, 1, 8, 8), torch.randint(0, K, (N,))), cutmix,
    ),
    "segmentation": (
        lambda: nn.Conv2d(1, K, 3, padding=1), lambda: loader(torch.randn(N, 1, 8, 8), torch.randint(0, K, (N, 8, 8))), classify,
    ),
    "tagging": (
        lambda: nn.Linear(D, K), lambda: sequences((N, T)),
        lambda m, b: F.cross_entropy(m(b[0]).view(-1, K), b[1].view(-1)),
    ),
    "tagging, classes in the middle": (
        lambda: nn.Linear(D, K), lambda: sequences((N, T)), lambda m, b: F.cross_entropy(m(b[0]).transpose(1, 2), b[1]),
    ),
    "autoencoder": (
        lambda: body(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 64)), lambda: loader(torch.rand(N, 1, 8, 8)),
        lambda m, b: F.mse_loss(m(b[0]), b[0].view(len(b[0]), -1), reduction="sum"),
    ),
    "regression that broadcasts": (
        lambda: nn.Linear(D, 1), lambda: loader(torch.randn(N, D), torch.randn(N)), lambda m, b: F.mse_loss(m(b[0]), b[1]),
    ),
    "loss by hand": (
        lambda: nn.Linear(D, K), lambda: loader(torch.randn(N, 2, D)), lambda m, b: (m(b[0][:, 0]) - m(b[0][:, 1])).pow(2).sum(1).mean(),
    ),
    "spectral norm and reduced precision": (
        lambda: body(nn.utils.parametrizations.spectral_norm(nn.Linear(D, D)), nn.BatchNorm1d(D), nn.Linear(D, K)),
        lambda: loader(torch.randn(N, D), torch.randint(0, K, (N,))), in_bfloat16,
    ),
    "loss by hand within the model": (
        lambda: Net(lambda net, x, y: -net.head(x).log_softmax(1).gather(1, y[:, None]).squeeze(1).mean(), head=nn.Linear(D, K)),
        lambda: loader(torch.randn(N, D), torch.randint(0, K, (N,))), lambda m, b: m(*b),
    ),
    "columns of ids with an offset each": (
        lambda: Net(
            lambda net, ids: net.head(net.embed(ids + torch.arange(T) * 9).flatten(1)), embed=nn.Embedding(9 * T, D), head=nn.Linear(T * D, K)
        ),
        lambda: loader(torch.randint(0, 9, (N, T)), torch.randint(0, K, (N,))), classify,
    ),
    "patches as a larger batch": (
        lambda: Net(
            lambda net, x: net.head(net.body(x.reshape(-1, D)).view(x.shape[0], T, -1).mean(1)), body=nn.Linear(D, 7), head=nn.Linear(7, K)
        ),
        sequences, classify,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_samples_of_sound_pipelines_keep_to_themselves(name):
    model, data, loss = SOUND[name]
    found = mix(model(), data(), loss)
    assert found.across_samples is False, found
    assert found.operation == ""
    assert not found.contrastive


def test_batches_of_time_first_sequences_are_known_by_the_loaders_batch_size():
    def collate(samples):
        return torch.stack([x for x, _ in samples], 1), torch.stack([y for _, y in samples])

    data = DataLoader(TensorDataset(torch.randn(N, T, D), torch.randint(0, K, (N,))), B, collate_fn=collate)
    net = Net(lambda net, x: net.head(net.rnn(x)[0][-1]), rnn=nn.LSTM(D, 7), head=nn.Linear(7, K))
    assert mix(net, data).across_samples is False
