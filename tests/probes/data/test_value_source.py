"""The line of a dataset's class that decides on a sample's input or label."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.value_source import argument_named, forced_gradient, rate_written, reordered_alone, value_source
from trainlint.record.frames import Frames


class Base(Dataset):
    def __init__(self, table):
        self.inputs = torch.zeros(8, 3)
        self.given = table

    def __len__(self):
        return 8


class LooksUp(Base):
    def __init__(self, table):
        super().__init__(table)
        self.labels = sorted(table)  # LooksUp

    def __getitem__(self, index):
        return self.inputs[index], torch.tensor(int(self.labels[index]))


class Changes(Base):
    def __init__(self, table):
        super().__init__(table)
        self.labels = np.array(table)
        self.labels[::3] = 0  # Changes

    def __getitem__(self, index):
        label = self.labels[index]
        return {"x": self.inputs[index], "labels": label}


class WorksOut(Base):
    def __getitem__(self, index):
        label = self.given[index] % 2 + 1  # WorksOut
        return self.inputs[index], label


class Arranges(Base):
    def __getitem__(self, index):
        picture = np.zeros((4, 4, 3), np.float32)
        picture = picture.reshape(3, 4, 4)  # Arranges
        return torch.from_numpy(picture), int(self.given.iloc[index]["label"])


class Keeps(Base):
    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


def source(dataset, path: str = "[1]", **options):
    return value_source(Samples(DataLoader(dataset, 4, **options)), Frames(), path)


def line(mark: str) -> int:
    return next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith(f"# {mark}"))


@pytest.mark.parametrize(("build", "path"), [(LooksUp, "[1]"), (Changes, "['labels']"), (WorksOut, "[1]"), (Arranges, "[0]")])
def test_the_line_that_decides(build, path: str) -> None:
    found = source(Subset(build(list(range(8))), [1, 2, 3, 5]), path)
    assert found is not None
    assert found[:2] == (__file__, line(build.__name__))


def test_a_class_that_keeps_what_it_was_given_tells_nothing() -> None:
    assert source(Keeps(torch.zeros(8, 3), [0] * 8)) is None


def test_a_collate_function_may_change_places() -> None:
    assert source(LooksUp(list(range(8))), collate_fn=list) is None


class ShufflesInputs(Base):
    def __init__(self, table):
        super().__init__(table)
        self.labels = list(table)
        random.shuffle(self.inputs)  # ShufflesInputs

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class ShufflesAName(Base):
    def __init__(self, table):
        super().__init__(table)
        labels = [int(label) for label in table]
        random.shuffle(labels)  # ShufflesAName
        self.labels = torch.tensor(labels)

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class PermutesLabels(Base):
    def __init__(self, table):
        super().__init__(table)
        order = torch.randperm(len(table))
        self.labels = torch.tensor(table)[order]  # PermutesLabels

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class ShufflesBoth(PermutesLabels):
    def __init__(self, table):
        order = torch.randperm(len(table))
        self.inputs, self.labels = torch.zeros(8, 3)[order], torch.tensor(table)[order]

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class ShufflesPairs(Base):
    def __init__(self, table):
        pairs = list(zip(torch.zeros(8, 3), table, strict=True))
        random.shuffle(pairs)
        self.inputs = [x for x, _ in pairs]
        self.labels = [y for _, y in pairs]

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


class ListsFiles(Base):
    def __init__(self, table):
        self.files = sorted(Path(__file__).parent.glob("*.py"))
        self.labels = list(table)

    def __getitem__(self, index):
        return self.files[index], self.labels[index]


class DrawsAnOrder(Base):
    def __init__(self, table):
        super().__init__(table)
        self.labels, self.order = list(table), torch.randperm(len(table))
        self.names = sorted(set(table))

    def __getitem__(self, index):
        place = self.order[index]
        return self.inputs[place], self.names[self.labels[place]]


def alone(build):
    return reordered_alone(Samples(DataLoader(build(list(range(8))), 4)), Frames())


@pytest.mark.parametrize("build", [ShufflesInputs, ShufflesAName, PermutesLabels])
def test_the_line_that_reorders_only_one_of_inputs_and_labels(build) -> None:
    found = alone(build)
    assert found is not None
    assert found[:2] == (__file__, line(build.__name__))


@pytest.mark.parametrize("build", [ShufflesBoth, ShufflesPairs, ListsFiles, DrawsAnOrder])
def test_what_is_reordered_together_or_not_at_all_has_no_such_line(build) -> None:
    assert alone(build) is None


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("total = torch.tensor(parts, requires_grad=True)\ntotal.backward()\n", 1),
        ("loss = f(x)\nloss.requires_grad_(True)\nloss.backward()\n", 2),
        ("loss = f(x)\nloss.requires_grad = True\nloss.backward()\n", 2),
        ("x.requires_grad_(True)\nloss = f(x)\nloss.backward()\n", None),
    ],
)
def test_the_line_that_forces_a_gradient(tmp_path, source: str, line: int | None) -> None:
    script = tmp_path / "train.py"
    script.write_text(source)
    assert forced_gradient(str(script), source.count("\n")) == line


def test_lines_of_an_argument_and_of_a_rate_that_is_set(tmp_path) -> None:
    script = tmp_path / "train.py"
    script.write_text("args = Arguments(\n    lr=1e-3,\n    warmup_steps=500,\n)\nfor g in opt.param_groups:\n    g['lr'] *= 0.9\n")
    assert argument_named(str(script), "warmup") == 3
    assert rate_written(str(script)) == 6
