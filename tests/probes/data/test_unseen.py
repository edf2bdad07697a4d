"""Loaders that a script built for validation and has not come to use."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from probes.recorded import fit, measured, record
from trainlint.measurements import Loop
from trainlint.probes.data.batches import measure_batches
from trainlint.probes.data.last_batch import measure_last_batch
from trainlint.probes.data.repeats import measure_repeats
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_overlap import measure_split_overlap
from trainlint.probes.run.loop import measure_loop
from trainlint.record.recording import Recording


def rows(count: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(count, 16, generator=generator), torch.randint(3, (count,), generator=generator))


def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def trained(train: Dataset, *others: Dataset, **options: object) -> Recording:
    """A run that trains and ends before it validates."""
    kept = []

    def run() -> None:
        loader = DataLoader(train, batch_size=32, shuffle=True)
        kept.extend(DataLoader(other, **{"batch_size": 50, **options}) for other in others)
        fit(nn.Linear(16, 3), loader, loss)

    return record(run)


def unseen(recording: Recording) -> list[Dataset]:
    """Datasets that count as validation data."""
    return list({id(d): d for b in DataFlow(recording).unseen if (d := b.iteration.loader.loader.dataset)}.values())


class Reading(Dataset):
    """Rows under a function of the index."""

    def __init__(self, data: Dataset, change) -> None:
        self.data, self.change = data, change

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        return self.change(index, *self.data[index])


def test_a_loader_that_waits_is_validation_data_for_the_probes_of_data() -> None:
    val = Reading(rows(130, 1), lambda i, x, y: (x + torch.randn(16), y))
    recording = trained(rows(300), val, drop_last=True)
    state = torch.get_rng_state()
    assert unseen(recording) == [val]
    assert torch.equal(torch.get_rng_state(), state)
    batches = measured(measure_batches, recording)
    assert [leaf.role for leaf in batches.val[0].leaves] == ["input", "target"]
    assert measured(measure_repeats, recording).leaves[0].varied
    assert [(e.phase, e.dropped) for e in measured(measure_last_batch, recording).loaders] == [("train", 0), ("val", 30)]


def test_probes_of_the_loop_do_not_see_it() -> None:
    recording = trained(rows(300), rows(100, 1))
    loop: Loop = measured(measure_loop, recording)
    assert unseen(recording)
    assert not loop.has_validation
    assert not recording.loaders_of("val")


def test_samples_that_are_trained_on_are_found() -> None:
    whole = rows(300)
    (pair,) = measured(measure_split_overlap, trained(whole, Subset(whole, range(100)))).pairs
    assert (pair.how, pair.found, pair.val_read) == ("indices", 100, 100)


def test_a_loader_that_measures_on_training_data_is_none() -> None:
    whole = rows(300)
    assert not unseen(trained(whole, whole))
    assert not unseen(trained(whole, rows(300)))  # built again
    augmented = Reading(whole, lambda i, x, y: (x + torch.randn(16), y))
    assert not unseen(trained(augmented, Reading(rows(300), lambda i, x, y: (x, y))))
    assert not measured(measure_split_overlap, trained(whole, Subset(whole, range(300)))).pairs


@pytest.mark.parametrize(
    "change",
    [
        lambda i, x, y: x,
        lambda i, x, y: (x, -1),
        lambda i, x, y: (x, i),
        lambda i, x, y: (x[:8], y),
        lambda i, x, y: (x, y.float()),
    ],
    ids=["no labels", "one label", "numbers of samples", "other shape", "other type"],
)
def test_samples_of_another_structure_are_left_alone(change) -> None:
    assert not unseen(trained(rows(300), Reading(rows(100, 1), change)))


class Counting(Dataset):
    """Gives another sample at each reading."""

    def __init__(self) -> None:
        self.data, self.read = rows(100, 1), 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        self.read += 1
        return self.data[self.read % 100]


class Stream(IterableDataset):
    def __iter__(self):
        raise AssertionError


@pytest.mark.parametrize("data", [Counting(), Stream(), Reading(rows(100, 1), lambda i, x, y: 1 / 0)], ids=["stateful", "stream", "broken"])
def test_what_cannot_be_read_by_index_is_left_alone(data: Dataset) -> None:
    assert not unseen(trained(rows(300), data))


def test_loaders_that_shuffle_are_for_training_unless_they_are_called_otherwise() -> None:
    assert not unseen(trained(rows(300), rows(100, 1), shuffle=True))
    loaders = []

    def run() -> None:
        loader = DataLoader(rows(300), batch_size=32, shuffle=True)
        test_loader = DataLoader(rows(100, 1), batch_size=32, shuffle=True)
        train_eval_loader = DataLoader(rows(100, 2), batch_size=32)
        loaders.extend([test_loader, train_eval_loader])
        fit(nn.Linear(16, 3), loader, loss)

    assert unseen(record(run)) == [loaders[0].dataset]


def test_loaders_of_folds_are_left_alone() -> None:
    whole = rows(300)

    def run() -> None:
        folds = []
        for k in range(3):
            inside = [i for i in range(300) if i % 3 == k]
            outside = [i for i in range(300) if i % 3 != k]
            folds.append((DataLoader(Subset(whole, outside), 32, shuffle=True), DataLoader(Subset(whole, inside), 32)))
        fit(nn.Linear(16, 3), folds[0][0], loss)

    assert not unseen(record(run))


def test_validation_that_was_seen_is_enough() -> None:
    def run() -> None:
        loader, seen = DataLoader(rows(300), 32, shuffle=True), DataLoader(rows(100, 1), 32)
        kept.append(DataLoader(rows(100, 2), 32))
        model = nn.Linear(16, 3)
        for inputs, _ in seen:
            with torch.no_grad():
                model(inputs)
        fit(model, loader, loss)

    kept: list[DataLoader] = []
    assert not unseen(record(run))
