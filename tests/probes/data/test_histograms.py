"""Histograms of a batch and statistics of its columns."""

import math

import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from trainlint.probes.data.datasets import normalisation
from trainlint.probes.data.histograms import column_statistics, histograms
from trainlint.probes.data.leaves import describe


def leaf(path, tensor, role="input"):
    return describe(path, role, tensor), tensor


def test_pictures_have_a_histogram_for_each_channel():
    images = torch.rand(4, 3, 16, 16)
    (chart,) = histograms("first training batch", [leaf("[0]", images)], [leaf("[1]", torch.arange(4), "target")])
    assert chart.title == "Pixel values, first training batch"
    assert [line.name for line in chart.lines] == ["red (channel 0)", "green (channel 1)", "blue (channel 2)"]
    assert [line.colour for line in chart.lines] == ["red", "green", "blue"]
    assert all(math.isclose(sum(line.y), 1.0, rel_tol=1e-6) for line in chart.lines)


def test_targets_of_a_regression_have_a_histogram_and_class_labels_none():
    charts = list(histograms("b", [leaf("[0]", torch.randn(64, 5))], [leaf("[1]", torch.randn(64), "target")]))
    assert [c.title for c in charts] == ["Targets, b"]
    assert len(charts[0].lines[0].x) == 8
    assert not list(histograms("b", [leaf("[0]", torch.randn(64, 5))], [leaf("[1]", torch.arange(64), "target")]))


def test_values_that_are_not_finite_leave_the_rest_drawn():
    values = torch.tensor([[[0.0, 1.0, math.nan, math.inf]]])
    (chart,) = histograms("b", [leaf("x", values)], [])
    assert math.isclose(sum(chart.lines[0].y), 1.0, rel_tol=1e-6)


def test_columns_are_described_and_constant_ones_named():
    table = torch.tensor([[1.0, 7.0, math.nan], [3.0, 7.0, 2.0]])
    found = column_statistics("first training batch", [leaf("[0]", table)], [leaf("[1]", torch.tensor([0.5, 1.5]), "target")])
    assert found is not None
    assert found.rows == (
        ("[0], column 0", 1.0, 2.0, 1.0, 3.0, 2, ""),
        ("[0], column 1", 7.0, 7.0, 0.0, 7.0, 1, "constant"),
        ("[0], column 2", 2.0, 2.0, 0.0, 2.0, 1, "1 not finite"),
        ("target [1]", 0.5, 1.0, 0.5, 1.5, 2, ""),
    )
    assert column_statistics("b", [leaf("[0]", torch.rand(2, 3, 8, 8))], []) is None


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, value):
        return value


class Normalize(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std


class Pictures(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 3


def test_the_normalisation_of_a_transform_is_found_inside_subsets_and_compositions():
    data = Pictures(Compose(Compose(), Compose(Normalize((0.5, 0.4, 0.3), [0.2, 0.2, 0.2]))))
    assert normalisation(Subset(data, [0, 1])) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert normalisation(Pictures(Compose(Normalize(torch.tensor([0.5]), torch.tensor([0.25]))))) == ((0.5,), (0.25,))
    assert normalisation(Pictures(Compose())) is None
