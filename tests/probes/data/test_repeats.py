"""Validation samples read again: what varies, by how much, and that nothing of the user's moves."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from probes.recorded import measured, record
from trainlint.measurements import Repeats
from trainlint.probes.data.repeats import measure_repeats
from trainlint.probes.errors import CannotMeasureError


class Rows(Dataset):
    def __init__(self, change=lambda row: row, transform=None) -> None:
        self.rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
        self.change, self.transform = change, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        row = self.change(self.rows[index])
        return (self.transform(row) if self.transform else row), index % 5


def repeats(train: DataLoader, val: DataLoader) -> Repeats:
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        for _ in range(2):
            for rows, labels in train:
                optimizer.zero_grad()
                F.cross_entropy(model(rows), labels).backward()
                optimizer.step()
            with torch.no_grad():
                for rows, labels in val:
                    F.cross_entropy(model(rows), labels)

    return measured(measure_repeats, record(run))


def halves(data: Dataset, other: Dataset | None = None) -> tuple[DataLoader, DataLoader]:
    other = other or data
    return DataLoader(Subset(data, range(150)), 10, shuffle=True), DataLoader(Subset(other, range(150, 200)), 10)


@pytest.mark.parametrize(
    "noise",
    [
        lambda row: row + 0.1 * torch.randn(6),
        lambda row: row + torch.tensor(0.1 * np.random.randn(6), dtype=torch.float32),
        lambda row: row * random.uniform(0.8, 1.2),
    ],
)
def test_noise_of_each_global_generator_is_seen(noise):
    found = repeats(*halves(Rows(noise)))
    row, label = found.leaves
    assert (row.role, row.varied, row.samples) == ("input", 32, 32)
    assert 0.01 < row.change < 0.5
    assert row.recognised > 0.9
    assert (label.role, label.varied) == ("target", 0)
    assert found.shared
    assert found.training_varies is True
    assert found.where is not None
    assert not found.by_collate


def test_still_samples_do_not_vary_though_validation_is_shuffled():
    data = Rows(lambda row: row + torch.randn(6))
    found = repeats(DataLoader(data, 10), DataLoader(Rows(), 10, shuffle=True))
    assert all(leaf.varied == 0 for leaf in found.leaves)
    assert not found.shared


def test_samples_drawn_anew_are_not_known_again():
    found = repeats(*halves(Rows(lambda row: torch.randn(6))))
    assert found.leaves[0].recognised < 0.3
    assert found.leaves[0].change > 0.8


class RandomShift:
    def __call__(self, row):
        return row + 0.1 * torch.randn(())


class Chain:
    def __init__(self, *transforms) -> None:
        self.transforms = list(transforms)

    def __call__(self, row):
        for transform in self.transforms:
            row = transform(row)
        return row


def test_random_transforms_are_found_inside_compositions():
    found = repeats(*halves(Rows(transform=Chain(abs, Chain(RandomShift())))))
    assert found.random_transforms == ("RandomShift",)


def test_a_collate_function_that_draws_is_told_from_the_dataset():
    def collate(batch):
        rows, labels = zip(*batch, strict=True)
        return torch.stack(rows) + 0.1 * torch.randn(len(rows), 6), torch.tensor(labels)

    data = Rows()
    found = repeats(DataLoader(Subset(data, range(150)), 10), DataLoader(Subset(data, range(150, 200)), 10, collate_fn=collate))
    assert found.by_collate
    assert found.training_varies is False


def test_generators_are_left_as_they_were_and_a_held_one_is_seen():
    class Held(Rows):
        def __init__(self) -> None:
            super().__init__(lambda row: row + 0.1 * float(self.rng.standard_normal()))
            self.rng = np.random.default_rng(3)

    data = Held()
    states: list[object] = []

    def probe(*given):
        states.append((data.rng.bit_generator.state, random.getstate(), np.random.get_state()[1].tolist()))
        found = measure_repeats(*given)
        states.append((data.rng.bit_generator.state, random.getstate(), np.random.get_state()[1].tolist()))
        return found

    train, val = halves(data)
    model = nn.Linear(6, 5)

    def run() -> None:
        for rows, labels in train:
            F.cross_entropy(model(rows), labels).backward()
        with torch.no_grad():
            for rows, _ in val:
                model(rows)

    assert measured(probe, record(run)).leaves[0].varied == 32
    assert states[0] == states[1]


def test_evaluating_on_training_data_is_no_validation():
    data = Rows(lambda row: row + torch.randn(6))
    with pytest.raises(CannotMeasureError, match="no validation data"):
        repeats(DataLoader(data, 10, shuffle=True), DataLoader(data, 10))
    part = DataLoader(data, 10, sampler=SubsetRandomSampler(range(150)))
    assert repeats(part, DataLoader(data, 10, sampler=SubsetRandomSampler(range(150, 200)))).leaves[0].varied


def test_streams_cannot_be_read_twice():
    class Stream(IterableDataset):
        def __iter__(self):
            return ((torch.randn(6), 1) for _ in range(40))

    with pytest.raises(CannotMeasureError, match="IterableDataset"):
        repeats(DataLoader(TensorDataset(torch.randn(40, 6), torch.ones(40).long()), 10), DataLoader(Stream(), 10))


class Stored(Dataset):
    def __init__(self, rows, change) -> None:
        self.rows, self.change = rows, change

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int):
        return torch.as_tensor(self.change(self.rows[index])), index % 5


def normalised(row):
    row -= 0.5  # first change
    row /= 0.7
    return row


def normalised_in_torch(row):
    centre = row.mean()
    row.sub_(centre + 1).mul_(2)  # change in torch
    return row


def stored(kind: str):
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    return rows if kind == "tensor" else list(rows.numpy().copy()) if kind == "list" else rows.numpy()


@pytest.mark.parametrize(
    ("kind", "change", "mark"),
    [("array", normalised, "first change"), ("list", normalised, "first change"), ("tensor", normalised_in_torch, "change in torch")],
)
def test_data_that_reading_changes_is_told_from_randomness(kind: str, change, mark: str):
    found = repeats(*halves(Stored(stored(kind), change)))
    assert found.leaves[0].varied == 32
    assert found.changed_where is not None
    assert found.changed_where.text.endswith(f"# {mark}")
    assert not found.by_collate


def test_a_buffer_that_is_filled_anew_is_no_data_that_wears():
    buffer = torch.zeros(6)

    def noisy(row):
        buffer.copy_(row)
        return buffer + 0.1 * torch.randn(6)

    data = Stored(stored("tensor"), noisy)
    data.buffer = buffer
    found = repeats(*halves(data))
    assert found.leaves[0].varied == 32
    assert found.changed_where is None


def test_a_transform_that_a_subset_was_given_is_told_as_one_that_nothing_reads():
    noisy = Rows(lambda row: row + 0.1 * torch.randn(6))
    train_loader, val_loader = halves(noisy)
    assert not repeats(train_loader, val_loader).unread
    val_loader.dataset.transform = torch.nn.Identity()
    assert repeats(train_loader, val_loader).unread == "transform"
