from __future__ import annotations

import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from probes.recorded import measured, record
from trainlint.measurements import SplitOverlap
from trainlint.probes.data.contents import POOR, is_varied
from trainlint.probes.data.split_overlap import measure_split_overlap
from trainlint.probes.errors import CannotMeasureError


def rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 16, generator=generator), torch.randint(2, (count,), generator=generator)


def overlap(train_set: Dataset, *val_sets: Dataset, columns: int = 16) -> SplitOverlap:
    model = nn.Linear(columns, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        loader = DataLoader(train_set, batch_size=32, shuffle=True)
        others = [loader if val is train_set else DataLoader(val, batch_size=64) for val in val_sets]
        for _ in range(2):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
            with torch.no_grad():
                for other in others:
                    for inputs, _ in other:
                        model(inputs)

    return measured(measure_split_overlap, record(run))


def test_parts_of_one_dataset_are_compared_by_index() -> None:
    whole = TensorDataset(*rows(300))
    (pair,) = overlap(Subset(whole, range(250)), Subset(whole, range(200, 300))).pairs
    assert (pair.how, pair.found, pair.val_read) == ("indices", 50, 100)
    (pair,) = overlap(whole, Subset(whole, range(100))).pairs
    assert (pair.how, pair.found) == ("indices", 100)
    (pair,) = overlap(Subset(whole, range(200)), Subset(whole, range(200, 300))).pairs
    assert (pair.how, pair.found) == ("content", 0)


def test_the_same_data_twice() -> None:
    whole = TensorDataset(*rows(300))
    (pair,) = overlap(whole, Subset(whole, range(300))).pairs
    assert pair.how == "dataset"


def test_other_datasets_are_compared_by_content() -> None:
    inputs, labels = rows(300)
    (pair,) = overlap(TensorDataset(inputs, labels), TensorDataset(inputs[250:].clone(), labels[250:])).pairs
    assert (pair.how, pair.found) == ("content", 50)
    assert pair.examples[0] == (0, 250)
    assert pair.distinct > 0.9
    (pair,) = overlap(TensorDataset(inputs, labels), TensorDataset(*rows(100, 1))).pairs
    assert pair.found == 0


def test_copies_made_before_the_split_are_found() -> None:
    inputs, labels = rows(200)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0)).tolist()
    copies = TensorDataset(inputs.repeat(3, 1), labels.repeat(3))
    (pair,) = overlap(Subset(copies, order[:500]), Subset(copies, order[500:])).pairs
    assert pair.found > 80
    assert pair.repeated > 0.5


def test_short_rows_are_compared_where_they_hold_measurements() -> None:
    inputs = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(800, generator=torch.Generator().manual_seed(1)).tolist()

    def leaked(columns: torch.Tensor) -> tuple[int, int]:
        copies = TensorDataset(columns.repeat(2, 1), torch.zeros(800, dtype=torch.int64))
        (pair,) = overlap(Subset(copies, order[:600]), Subset(copies, order[600:]), columns=columns.shape[1]).pairs
        return pair.found, pair.poor

    assert leaked(inputs)[0] > 100
    assert leaked(inputs)[1] == 0
    assert leaked(inputs[:, :1]) == (0, 200)  # one number may agree by chance
    assert leaked(inputs.round()) == (0, 200)  # and so may rounded ones


def test_blank_samples_are_not_compared() -> None:
    inputs, labels = rows(200)
    blank = torch.zeros(100, 16)
    (pair,) = overlap(
        TensorDataset(torch.cat([inputs, blank]), torch.cat([labels, labels[:100]])), TensorDataset(blank, labels[:100])
    ).pairs
    assert (pair.found, pair.poor) == (0, 100)


class Augmented(Dataset):
    def __init__(self, inputs: Tensor, labels: Tensor, transform=None) -> None:
        self.inputs, self.labels, self.transform = inputs, labels, transform

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.inputs[index]
        return (self.transform(sample) if self.transform else sample), self.labels[index]


def jitter(sample: Tensor) -> Tensor:
    return sample + 0.01 * torch.randn(16)


def test_transforms_do_not_hide_equal_samples() -> None:
    inputs, labels = rows(300)
    train_set = Augmented(inputs, labels, jitter)
    (pair,) = overlap(train_set, Augmented(inputs[200:], labels[200:])).pairs
    assert pair.found == 100
    assert train_set.transform is jitter


def test_augmentation_that_cannot_be_switched_off_is_named() -> None:
    inputs, labels = rows(300)

    class Always(Augmented):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            return jitter(self.inputs[index]), self.labels[index]

    found = overlap(Always(list(inputs), labels), Augmented(inputs[200:], labels[200:]))
    assert found.pairs == ()
    assert "augmented at random" in found.reason


def test_a_second_loader_is_compared_too() -> None:
    whole = TensorDataset(*rows(300))
    train_set = Subset(whole, range(200))
    found = overlap(train_set, Subset(whole, range(50)), Subset(whole, range(200, 300)))
    assert [pair.found for pair in found.pairs] == [50, 0]


def test_needs_validation_data() -> None:
    with pytest.raises(CannotMeasureError, match="no validation"):
        overlap(TensorDataset(*rows(100)))


def test_samples_with_equal_edges_and_other_nodes_are_other_samples() -> None:
    class Graphs(Dataset):
        def __init__(self, seed: int) -> None:
            self.nodes, self.labels = rows(100, seed)

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
            return self.nodes[index], torch.arange(30), self.labels[index]

    def compared(train_set: Dataset, val_set: Dataset) -> int:
        model = nn.Linear(16, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

        def run() -> None:
            for _ in range(2):
                for nodes, _, labels in DataLoader(train_set, batch_size=32, shuffle=True):
                    F.cross_entropy(model(nodes), labels).backward()
                    optimizer.step()
                with torch.no_grad():
                    for nodes, _, _ in DataLoader(val_set, batch_size=50):
                        model(nodes)

        (pair,) = measured(measure_split_overlap, record(run)).pairs
        return pair.found

    assert compared(Graphs(0), Graphs(1)) == 0
    assert compared(Graphs(0), Graphs(0)) == 100


@given(st.integers(64, 256), st.integers(0, 2000))
def test_a_sample_that_is_rich_at_a_glance_is_rich_when_it_is_compressed(different: int, blank: int) -> None:
    data = bytes(range(different)) + bytes(blank)
    assert not is_varied(data) or len(zlib.compress(data, 9)) > POOR
    assert not is_varied(bytes(blank))


def test_samples_that_hardly_say_anything_are_no_overlap_however_many_of_training_are_glanced_at() -> None:
    varied, labels = rows(300)
    blank = torch.zeros(40, 16)
    (pair,) = overlap(TensorDataset(torch.cat([varied, blank]), torch.cat([labels, labels[:40]])), TensorDataset(blank, labels[:40])).pairs
    assert (pair.found, pair.poor) == (0, 40)


def test_small_pictures_that_were_oversampled_before_the_split_are_told_from_rows_that_repeat_by_nature() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 17, (150, 1, 8, 8), generator=generator).float()
    pictures = torch.cat([drawn, drawn[:60]])[torch.randperm(210, generator=generator)]
    whole = TensorDataset(pictures.flatten(1)[:, :16].reshape(-1, 16), torch.zeros(210, dtype=torch.long))
    (rows_,) = overlap(Subset(whole, range(160)), Subset(whole, range(160, 210))).pairs
    assert not rows_.pictures
    train_set, val_set = (TensorDataset(p, torch.zeros(len(p), dtype=torch.long)) for p in (pictures[:160], pictures[160:]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        for _ in range(2):
            for inputs, labels in DataLoader(train_set, batch_size=32, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
            with torch.no_grad():
                for inputs, _ in DataLoader(val_set, batch_size=64):
                    model(inputs)

    (pair,) = measured(measure_split_overlap, record(run)).pairs
    assert pair.pictures
    assert pair.found > 5
    assert pair.different > 0.7


class Noisy(Dataset):
    """Augments in ``__getitem__``, behind a flag."""

    def __init__(self, inputs: Tensor, labels: Tensor, *, train: bool) -> None:
        self.inputs, self.labels, self.train = inputs, labels, train

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs = self.inputs[index]
        return jitter(inputs) if self.train else inputs, self.labels[index]


def test_samples_that_the_dataset_augments_itself_are_compared_as_it_holds_them() -> None:
    inputs, labels = rows(300)
    train_set = Noisy(inputs[:250], labels[:250], train=True)
    (pair,) = overlap(train_set, Noisy(inputs[200:], labels[200:], train=False)).pairs
    assert (pair.how, pair.found, pair.val_read) == ("content", 50, 100)
    (pair,) = overlap(Subset(train_set, range(200)), Noisy(inputs[250:], labels[250:], train=False)).pairs
    assert pair.found == 0
