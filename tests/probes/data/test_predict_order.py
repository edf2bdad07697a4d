"""A validation loader that is shuffled, and that a skorch net predicts through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from probes.recorded import record
from trainlint.probes.data.predict_order import mixed_predictions

skorch = pytest.importorskip("skorch")

X = np.random.default_rng(0).standard_normal((300, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")


def found(**options: object) -> tuple[str, int, str] | None:
    net = skorch.NeuralNetClassifier(nn.Linear(4, 2), criterion=nn.CrossEntropyLoss, lr=0.1, max_epochs=3, verbose=0, **options)

    def run() -> None:
        net.fit(X, Y)
        net.predict(X)

    torch.manual_seed(0)
    return mixed_predictions(record(run))


def test_a_net_that_shuffles_what_it_predicts_is_found() -> None:
    place = found(iterator_train__shuffle=True, iterator_valid__shuffle=True)
    with open(__file__) as source:
        assert "iterator_valid__shuffle=True" in source.readlines()[place[1] - 1]


def test_a_net_that_shuffles_training_alone_is_fine() -> None:
    assert found(iterator_train__shuffle=True) is None
