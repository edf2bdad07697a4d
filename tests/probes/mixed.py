"""Small loaders, and what is measured of mixing in a training of one."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

from trainlint.measurements import Mixing
from trainlint.probes.step.mixing import measure_mixing

from .recorded import classify, measured, train

__all__ = ["B", "D", "K", "N", "T", "loader", "mix", "sequences"]

#: Samples a batch, steps of a sequence, features, classes, samples in all.
B, T, D, K, N = 6, 5, 8, 3, 48


def loader(*columns: torch.Tensor, **options) -> DataLoader:
    return DataLoader(TensorDataset(*columns), B, **options)


def sequences(labels=(B * 8,)) -> DataLoader:
    return loader(torch.randn(B * 8, T, D), torch.randint(0, K, labels))


def mix(model, data, loss=classify) -> Mixing:
    return measured(measure_mixing, train(model, data, loss))


# -- slips -------------------------------------------------------------------------------------------------------------
