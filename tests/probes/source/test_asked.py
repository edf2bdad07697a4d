"""Where a loader's data was asked for."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import classify, record
from trainlint.probes.source.asked import asked_at


def build(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 4), torch.zeros(count, dtype=torch.long))


def parts(count: int) -> tuple[TensorDataset, TensorDataset]:
    return build(count), build(count)


BUILT = (__file__, build.__code__.co_firstlineno + 1, "build")


def test_the_call_of_the_function_that_built_it_is_told() -> None:
    def run() -> None:
        rows = build(64)
        loader = DataLoader(rows, 16)
        for batch in loader:
            classify(nn.Linear(4, 3), batch).backward()

    entry = record(run).loaders[0]
    assert asked_at(entry, BUILT) == (__file__, run.__code__.co_firstlineno + 1, "run")
    assert asked_at(entry, (__file__, 1, "<module>")) is None
    assert asked_at(entry, (__file__, 1, "run")) is None


def test_a_call_of_another_function_says_nothing() -> None:
    def run() -> None:
        rows, _ = parts(64)
        for batch in DataLoader(rows, 16):
            classify(nn.Linear(4, 3), batch).backward()

    assert asked_at(record(run).loaders[0], BUILT) is None
