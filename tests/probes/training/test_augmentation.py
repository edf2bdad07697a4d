from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from probes.recorded import classify, measured, record
from trainlint.measurements import Augmentation
from trainlint.probes.training.augmentation import read_plainly
from trainlint.probes.training.short_runs import measure_short_runs
from trainlint_rules.over_regularized import OverRegularized


class Points(Dataset):
    """Points of three classes, with noise added to them on request."""

    def __init__(self, size: int, *, noise: float = 0.0, augment: bool = False) -> None:
        self.x = torch.randn(size, 10, generator=torch.Generator().manual_seed(size))
        self.y = (self.x[:, 0] > 0).long() + (self.x[:, 1] > 0).long()
        self.noise, self.augment = noise, augment

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.x[index]
        return (x + self.noise * torch.randn(10) if self.augment else x), self.y[index]


class Noisy(Dataset):
    """A shell around a dataset that adds noise to its points."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.dataset[index]
        return x + 30 * torch.randn(10), y


def compared(train: Dataset, val: Dataset) -> tuple[Augmentation | None, str]:
    def run() -> None:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(2):
            model.train()
            for batch in DataLoader(train, batch_size=16):
                optimizer.zero_grad()
                classify(model, batch).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for x, _ in DataLoader(val, batch_size=16):
                    model(x)

    found = measured(measure_short_runs, record(run))
    return found.augmentation, OverRegularized().judge(found).kind


def test_noise_that_drowns_the_points_is_seen():
    found, verdict = compared(Points(256, noise=30.0, augment=True), Points(64))
    assert found.plain.clean[-1] < 0.5 * found.initial < found.augmented.clean[-1]
    assert verdict == "fail"


def test_mild_noise_leaves_as_much_to_learn():
    found, verdict = compared(Points(256, noise=0.1, augment=True), Points(64))
    assert found is not None
    assert verdict == "pass"


def test_a_shell_that_only_the_training_data_has_is_taken_off():
    root = Points(320)
    _, verdict = compared(Noisy(Subset(root, range(256))), Subset(root, range(256, 320)))
    assert verdict == "fail"


@pytest.mark.parametrize("train", [Points(256), Points(256, noise=30.0)])
def test_nothing_is_compared_where_nothing_is_augmented(train: Points):
    assert compared(train, Points(64))[0] is None


def test_data_and_indices_stay_and_only_the_way_of_reading_changes():
    mine = Subset(Points(8, noise=3.0, augment=True), [5, 6])
    plain = read_plainly(mine, Subset(Points(4), [1, 2]))
    assert plain.indices == [5, 6]
    assert plain.dataset.x is mine.dataset.x
    assert (plain.dataset.augment, plain.dataset.noise) == (False, 0.0)
    assert mine.dataset.augment
    assert read_plainly(mine, mine) is mine


def test_objects_without_attributes_are_left_alone():
    rows = [(torch.zeros(2), 0)]
    assert read_plainly(rows, SimpleNamespace(transform=None)) is rows
