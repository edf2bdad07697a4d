"""The scan of the data: samples that are not finite, and label counts, without disturbing what it reads."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset, random_split

from probes.recorded import classify, measured, record, train
from trainlint.measurements import DataScan
from trainlint.probes.data.data_scan import measure_data_scan
from trainlint.probes.data.datasets import spread


class Table(Dataset):
    def __init__(self, size: int = 100) -> None:
        self.x = torch.randn(size, 4, generator=torch.Generator().manual_seed(0))
        self.labels = [i % 3 for i in range(size)]
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int):
        self.reads.append(index)
        return self.x[index], self.labels[index]


def scan(loader) -> DataScan:
    return measured(measure_data_scan, train(nn.Linear(4, 3), loader, classify))


def stop_after(monkeypatch, samples: int) -> None:
    """Let the scan's clock run by its own looks at it."""
    clock = itertools.count()
    monkeypatch.setattr("trainlint.probes.data.data_scan._SECONDS", samples)
    monkeypatch.setattr("trainlint.probes.data.data_scan.time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_broken_samples_are_named_with_index_column_and_value():
    data = Table()
    data.x[7, 2] = torch.nan
    data.x[40, 1:3] = -torch.inf
    found = scan(DataLoader(data, 10, shuffle=True))
    assert [(s.index, s.columns, s.value, s.path, s.phase) for s in found.nonfinite] == [
        (7, (2,), "nan", "[0]", "train"),
        (40, (1, 2), "-inf", "[0]", "train"),
    ]
    assert (found.nonfinite_samples, found.samples_seen, found.samples_total) == (2, 100, 100)
    (count,) = found.labels
    assert (count.path, count.counts, count.complete, count.integer) == ("[1]", {"0": 34, "1": 33, "2": 33}, True, True)
    assert found.where is not None
    assert found.where["train"].line > 0


def test_tensors_in_memory_give_the_same_answer():
    data = Table()
    data.x[40, 1:3] = torch.inf
    tensors = TensorDataset(data.x, torch.tensor(data.labels))
    slow, fast = scan(DataLoader(data, 10)), scan(DataLoader(tensors, 10))
    assert fast.nonfinite == slow.nonfinite
    assert [c.counts for c in fast.labels] == [c.counts for c in slow.labels]
    assert (fast.samples_seen, fast.samples_total) == (100, 100)


def test_subsets_are_counted_by_their_own_indices():
    data = TensorDataset(Table().x.clone(), torch.arange(100) % 3)
    data.tensors[0][50] = torch.nan
    part, _ = random_split(data, [60, 40], generator=torch.Generator().manual_seed(1))
    found = scan(DataLoader(part, 10))
    expected = [i for i, j in enumerate(part.indices) if j == 50]
    assert [s.index for s in found.nonfinite] == expected
    assert found.samples_total == 60
    chosen = scan(DataLoader(data, 10, sampler=SubsetRandomSampler(range(30))))
    assert chosen.samples_total == 30
    assert chosen.labels[0].counts == {"0": 10, "1": 10, "2": 10}


def test_binary_float_labels_and_masks_are_counted_but_numbers_are_not():
    def run(target, loss):
        loader = DataLoader(TensorDataset(torch.randn(20, 4), target), 10)
        return measured(measure_data_scan, train(nn.Linear(4, target[0].numel()), loader, loss)).labels

    def binary(m, b):
        return F.binary_cross_entropy_with_logits(m(b[0]).view_as(b[1]), b[1])

    (count,) = run((torch.arange(20) % 4 == 0).float(), binary)
    assert (count.counts, count.integer, count.complete) == ({"0.0": 15, "1.0": 5}, True, True)
    (many,) = run((torch.arange(60).view(20, 3) % 4 == 0).float(), binary)
    assert sum(many.counts.values()) == 60
    assert run(torch.randn(20), lambda m, b: F.mse_loss(m(b[0]).squeeze(1), b[1])) == ()


def test_validation_is_scanned_too():
    model = nn.Linear(4, 3)
    train_loader, val_loader = DataLoader(Table(), 10), DataLoader(Table(31), 10)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for batch in train_loader:
                classify(model, batch).backward()
                optimizer.step()
            with torch.no_grad():
                for x, _ in val_loader:
                    model(x)

    found = measured(measure_data_scan, record(run))
    assert [(c.phase, sum(c.counts.values())) for c in found.labels] == [("train", 100), ("val", 31)]
    assert found.samples_total == 131


def test_a_collate_function_shapes_the_samples():
    def collate(samples):
        return {"x": torch.stack([s[0] for s in samples]), "y": torch.tensor([s[1] for s in samples])}

    data = Table()
    data.x[3, 0] = torch.nan
    loader = DataLoader(data, 10, collate_fn=collate)
    recording = train(nn.Linear(4, 3), loader, lambda m, b: F.cross_entropy(m(b["x"]), b["y"]))
    found = measured(measure_data_scan, recording)
    assert [(s.path, s.index) for s in found.nonfinite] == [("['x']", 3)]
    assert found.labels[0].path == "['y']"


def test_labels_are_complete_when_the_datasets_own_array_agrees_with_what_was_read(monkeypatch):
    stop_after(monkeypatch, 300)
    data = Table(200_000)
    found = scan(DataLoader(Subset(data, range(0, 200_000, 2)), 10))
    assert 200 < found.samples_seen <= 300
    assert found.labels[0].complete
    assert sum(found.labels[0].counts.values()) == 100_000


def test_an_array_that_disagrees_is_not_used(monkeypatch):
    stop_after(monkeypatch, 300)

    class Shifted(Table):
        def __getitem__(self, index: int):
            return self.x[index], (self.labels[index] + index // 2) % 3

    found = scan(DataLoader(Shifted(200_000), 10))
    assert not found.labels[0].complete
    assert sum(found.labels[0].counts.values()) == found.samples_seen


def test_random_generators_are_left_alone():
    class Noisy(Table):
        def __getitem__(self, index: int):
            return torch.rand(4) + random.random() + np.random.rand(), index % 3

    recording = train(nn.Linear(4, 3), DataLoader(Noisy(), 10), classify)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    measured(measure_data_scan, recording)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


def test_a_generator_behind_an_iterable_dataset_is_not_used_up():
    class Stream(IterableDataset):
        def __init__(self, source) -> None:
            self.source = source

        def __iter__(self):
            return iter(self.source)

    used_up = Stream((torch.randn(4), i % 3) for i in range(200))
    assert scan(DataLoader(used_up, 10)).samples_seen == 0
    assert next(used_up.source, None) is not None
    again = scan(DataLoader(Stream([(torch.randn(4), i % 3) for i in range(50)]), 10))
    assert (again.samples_seen, again.samples_total) == (50, 50)
    assert again.labels[0].counts == {"0": 17, "1": 17, "2": 16}


def test_samples_that_cannot_be_read_are_reported_and_the_rest_is_scanned():
    class Holey(Table):
        def __getitem__(self, index: int):
            if index == 90:
                msg = "no such file: 90.png"
                raise FileNotFoundError(msg)
            return super().__getitem__(index)

    found = scan(DataLoader(Holey(), 10))
    assert found.error == "FileNotFoundError on sample 90 of the train data: no such file: 90.png"
    assert found.samples_seen == 99


def test_a_huge_dataset_is_neither_listed_nor_read_to_its_end(monkeypatch):
    class Huge(Dataset):
        def __len__(self) -> int:
            return 10**10

        def __getitem__(self, index: int):
            return torch.randn(4), index % 3

    sampler = torch.utils.data.RandomSampler(Huge(), replacement=True, num_samples=10**10)
    stop_after(monkeypatch, 300)
    found = scan(DataLoader(Huge(), 10, sampler=sampler))
    assert found.samples_total == 10**10
    assert 200 < found.samples_seen <= 300
    assert not found.labels[0].complete


def test_a_loop_without_loaders_has_an_empty_scan():
    model = nn.Linear(4, 3)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            F.cross_entropy(model(torch.randn(5, 4)), torch.zeros(5, dtype=torch.long)).backward()
            optimizer.step()

    assert measured(measure_data_scan, record(run)) == DataScan()


def test_spread_visits_everything_once_and_early_samples_come_from_everywhere():
    for size in (0, 1, 255, 256, 1000, 4096, 100_003):
        assert sorted(spread(size)) == list(range(size))
    begun = [i for i, _ in zip(spread(10**10), range(256), strict=False)]
    assert max(begun) > 0.99 * 10**10
    assert list(spread(20)) == list(range(20))
