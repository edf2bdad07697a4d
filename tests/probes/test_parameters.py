from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.parameters import measure_parameters

from .recorded import Net, fit, measured, record, train


@pytest.mark.parametrize(("prefix", "void"), [("module.", True), ("", False)])
def test_a_checkpoint_that_matches_no_name_is_told_from_one_that_loads(prefix, void):
    saved = {f"{prefix}{name}": value for name, value in nn.Sequential(nn.Linear(4, 3)).state_dict().items()}
    data = TensorDataset(torch.randn(32, 4), torch.arange(32) % 3)

    def run() -> None:
        model = nn.Sequential(nn.Linear(4, 3))
        model.load_state_dict(saved, strict=False)
        fit(model, DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))

    found = measured(measure_parameters, record(run))
    assert (found.void_load_where is not None) is void
    assert found.pretrained is not void
    assert found.void_load_names == (("module.0.weight", "0.weight") if void else ("", ""))


@pytest.mark.parametrize(("axis", "silent"), [(-1, ("score.bias", "score.weight")), (1, None)])
def test_a_softmax_over_one_entry_leaves_its_scores_without_a_gradient(axis, silent):
    torch.manual_seed(0)

    def pooled(net, x):
        return net.out((net.score(x).softmax(axis) * x).sum(1))

    data = TensorDataset(torch.randn(32, 5, 4), torch.arange(32) % 3)
    net = Net(pooled, score=nn.Linear(4, 1), out=nn.Linear(4, 3))
    found = measured(measure_parameters, train(net, DataLoader(data, 8), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1])))
    assert (found.constant.parameters if found.constant else None) == silent
