from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, record
from trainlint.probes.run.eval_dropout import dropout_in_evaluation, dropout_to_come


def always(net, x):
    return net.out(F.dropout(net.body(x), 0.5))


def in_its_mode(net, x):
    return net.out(F.dropout(net.body(x), 0.5, training=net.training))


def attends(net, x):
    q = net.body(x)[:, None]
    return net.out(F.scaled_dot_product_attention(q, q, q, dropout_p=0.1)[:, 0])


def on_purpose(net, x):
    return net.out(F.dropout(net.body(x), 0.5, training=True))


def found(forward):
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 4), torch.arange(64) % 3)
    net = Net(forward, body=nn.Linear(4, 8), out=nn.Linear(8, 3))

    train_loader, val_loader = DataLoader(data, 16), DataLoader(data, 32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(3):
            net.train()
            for x, y in train_loader:
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
            net.eval()
            with torch.no_grad():
                for x, _ in val_loader:
                    net(x)

    return dropout_in_evaluation(record(run))


@pytest.mark.parametrize("forward", [always, attends])
def test_functional_dropout_that_is_not_told_the_mode_is_found(forward):
    assert found(forward)[1][2] == forward.__name__


def test_dropout_that_follows_the_mode_is_none():
    assert found(in_its_mode) is None


def to_come(forward):
    """The line that will drop in the evaluation of a script whose recording has training alone."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 4), torch.arange(64) % 3
    net = Net(forward, body=nn.Linear(4, 8), out=nn.Linear(8, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    place = dropout_to_come(record(run))
    assert net.training
    return place and place[2]


@pytest.mark.parametrize("forward", [always, attends])
def test_functional_dropout_of_an_evaluation_that_comes_later_is_found(forward):
    assert to_come(forward) == forward.__name__


def test_dropout_that_follows_the_mode_or_is_asked_for_is_no_fault_of_a_later_evaluation():
    assert to_come(in_its_mode) is None
    assert to_come(on_purpose) is None
