from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainlint.probes.parameters import measure_parameters

from .recorded import fit, measured, record


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
