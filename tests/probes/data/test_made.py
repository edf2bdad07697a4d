"""The line that made a sample's values, whether the dataset holds them or makes them when asked."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from probes.recorded import Net, fit, record, train
from trainlint.probes.data.made import made_at
from trainlint.record.recording import Recording

VALUES = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


class Lazy(Dataset):
    """Makes its samples when asked."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int):
        row = torch.from_numpy(VALUES[index]) * 3  # lazy
        return row.reshape(4), torch.tensor(1.0)


class Held(Dataset):
    """Holds its inputs as a tensor and its targets as numbers."""

    def __init__(self) -> None:
        self.rows = torch.from_numpy(VALUES).double()  # held
        self.rows = self.rows[:, :4].clone()

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int):
        return self.rows[index].float(), float(index)  # cast


def tensors() -> Dataset:
    inputs = torch.from_numpy(VALUES) / 255  # tensors
    inputs = inputs.unsqueeze(1).squeeze(1)
    return Subset(TensorDataset(inputs[2:], torch.ones(30)), range(20))


def changed_in_place() -> Dataset:
    inputs = torch.zeros(32, 4)
    inputs[:, 1] = 255.0  # in place
    return TensorDataset(inputs, torch.ones(32))


def recorded(build) -> Recording:
    def loss(model, batch):
        return (model(batch[0].float()).squeeze(1) - batch[1]).square().mean()

    model = Net(lambda self, x: self.head(x), head=torch.nn.Linear(4, 1))
    return record(lambda: fit(model, DataLoader(build(), 8), loss))


@pytest.mark.parametrize(("build", "mark"), [(Lazy, "lazy"), (Held, "cast"), (tensors, "tensors"), (changed_in_place, "in place")])
def test_the_line_is_the_one_that_made_the_values(build, mark: str) -> None:
    recording = recorded(build)
    made = made_at(recording, recording.loaders[0])
    wanted = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"# {mark}"))
    assert made["[0]"][:2] == (__file__, wanted)


def test_numbers_that_only_the_loader_turns_into_tensors_have_no_line() -> None:
    recording = recorded(Held)
    assert "[1]" not in made_at(recording, recording.loaders[0])


def test_reading_leaves_the_generators_alone() -> None:
    class Random(Lazy):
        def __getitem__(self, index: int):
            return torch.rand(4), torch.rand(())

    recording = recorded(Random)
    before = torch.get_rng_state()
    assert made_at(recording, recording.loaders[0])["[0]"][1] == inspect.getsourcelines(Random)[1] + 2
    assert torch.equal(before, torch.get_rng_state())


def test_a_dataset_that_fails_or_has_no_indices_has_no_lines() -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.ones(4), torch.tensor(1.0))] * 16)

    recording = train(Net(lambda self, x: self.head(x), head=torch.nn.Linear(4, 1)), DataLoader(Stream(), 8), lambda m, b: m(b[0]).mean())
    assert made_at(recording, recording.loaders[0]) == {}


def collate(batch):
    rows = torch.stack([torch.from_numpy(VALUES[int(target)]) for _, target in batch])
    return rows.flatten(1).double(), torch.ones(len(batch))  # collate


def test_values_that_the_collate_function_makes_are_made_there() -> None:
    def loss(model, batch):
        return (model(batch[0].float()).squeeze(1) - batch[1]).square().mean()

    model = Net(lambda self, x: self.head(x), head=torch.nn.Linear(4, 1))
    recording = record(lambda: fit(model, DataLoader(Held(), 8, collate_fn=collate), loss))
    wanted = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# collate"))
    assert made_at(recording, recording.loaders[0])["[0]"][1] == wanted


class Arranged(Lazy):
    def __getitem__(self, index: int):
        values = np.full(4, index, dtype=np.float64)  # numbers
        return torch.from_numpy(values)[None].squeeze(0), torch.tensor(1.0)


def test_values_that_torch_only_arranged_are_looked_for_in_the_source() -> None:
    recording = recorded(Arranged)
    wanted = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# numbers"))
    assert made_at(recording, recording.loaders[0])["[0]"][1] == wanted
