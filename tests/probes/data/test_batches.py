"""Recorded batches: which tensor enters the model and which the loss, what kind each is, and what is drawn of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from probes.recorded import classify, conv, first, fit, measured, record, roles, train
from trainlint.measurements import Batches
from trainlint.probes.data.batches import measure_batches
from trainlint.probes.data.leaves import describe
from trainlint.probes.errors import CannotMeasureError


class Named(Dataset):
    classes = ("ant", "bee", "cow", "dog")
    transform = nn.Identity()

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict[str, object]:
        picture = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"pixel_values": picture, "label": index % 4, "file": index}


def test_pictures_and_labels_are_told_apart_and_drawn_with_class_names():
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv()

        def forward(self, pixel_values, label):
            return F.cross_entropy(self.body(pixel_values), label)

    data = Subset(Named(), [1, 0, *range(2, 32)])
    recording = train(Model(), DataLoader(data, 8), lambda m, b: m(b["pixel_values"], b["label"]))
    batches: Batches = measured(measure_batches, recording)
    view = batches.train[0]
    assert roles(view) == {"['pixel_values']": ("input", "image"), "['label']": ("target", "labels"), "['file']": ("other", "labels")}
    assert [leaf.path for leaf in view.inputs] == ["['pixel_values']"]
    assert view.transform == "Identity()"
    assert view.pictures is not None
    assert [p.caption for p in view.pictures.pictures[:3]] == ["1: bee", "0: ant", "2: cow"]
    assert batches.train[1].pictures is None
    assert batches.first_layer == "Conv2d"
    assert not batches.normalised_inside
    assert not batches.in_place_of_loader


def test_what_normalises_pictures_is_told_with_its_line():
    class Cards(Dataset):
        def __init__(self, transform):
            self.transform = transform

        def __len__(self):
            return 40

        def __getitem__(self, i):
            return self.transform(torch.rand(1, 8, 8)), i % 3

    class Scale(nn.Module):
        def __init__(self, mean, std):
            super().__init__()
            self.mean, self.std = mean, std

        def forward(self, x):
            return (x - torch.tensor(self.mean)) / torch.tensor(self.std)

    def run():
        scale = Scale([30.0], [70.0])
        fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), DataLoader(Cards(scale), 8), classify)

    by = measured(measure_batches, record(run)).normaliser
    assert by is not None
    assert (by.means, by.stds) == ((30.0,), (70.0,))
    assert by.where is not None
    assert by.where.text == "scale = Scale([30.0], [70.0])"


def test_statistics_are_those_of_the_values():
    x = torch.zeros(8, 3, 6, 6)
    x[1] = 2.0
    x[2, 0, 0, 0] = torch.nan
    x[3:] = torch.randn(5, 3, 6, 6)
    leaf = first(train(conv(), DataLoader(TensorDataset(x, torch.arange(8) % 4), 8), classify)).leaves[0]
    known = x[~x.isnan()]
    assert leaf.mean == pytest.approx(float(known.mean()))
    assert leaf.std == pytest.approx(float(known.std(correction=0)))
    assert (leaf.minimum, leaf.maximum) == (float(known.min()), float(known.max()))
    assert leaf.channel_mean[1] == pytest.approx(float(x[:, 1].mean()), abs=1e-6)
    assert (leaf.nonfinite, leaf.nonfinite_rows, leaf.constant_rows, leaf.repeated_rows) == (1, (2,), 2, 0)


def test_repeated_samples_are_counted():
    x = torch.randn(1, 3, 6, 6).expand(8, -1, -1, -1)
    assert first(train(conv(), DataLoader(TensorDataset(x, torch.arange(8) % 4), 8), classify)).leaves[0].repeated_rows == 7


def test_what_the_loop_changes_is_described_as_it_enters_the_model():
    x = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8)
    loader = DataLoader(TensorDataset(x, torch.arange(32) % 4), 8)
    view = first(train(conv(), loader, lambda m, b: F.cross_entropy(m(b[0].float() / 255), b[1])))
    assert roles(view) == {"[0]": ("input", "image"), "[1]": ("target", "labels")}
    assert (view.leaves[0].dtype, view.leaves[0].maximum) == ("uint8", 255)
    (entered,) = view.inputs
    assert (entered.path, entered.dtype, entered.maximum) == ("input 0", "float32", 1.0)


def test_normalising_inside_the_model_is_seen():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv()

        def forward(self, x):
            return self.body((x - 127.5) / 127.5)

    loader = DataLoader(TensorDataset(torch.rand(32, 3, 8, 8) * 255, torch.arange(32) % 4), 8)
    assert measured(measure_batches, train(Model(), loader, classify)).normalised_inside
    normed = nn.Sequential(nn.BatchNorm2d(3), conv())
    batches = measured(measure_batches, train(normed, loader, classify))
    assert batches.normalised_inside
    assert batches.first_layer == "BatchNorm2d"


def test_flattened_pictures_keep_their_path():
    model = nn.Sequential(nn.Linear(48, 4))
    loader = DataLoader(TensorDataset(torch.rand(16, 3, 4, 4), torch.arange(16) % 4), 8)
    view = first(train(model, loader, lambda m, b: F.cross_entropy(m(b[0].flatten(1)), b[1])))
    assert [(leaf.path, leaf.kind, leaf.shape) for leaf in view.inputs] == [("[0]", "table", (8, 48))]
    assert view.leaves[0].kind == "image"
    assert view.pictures is not None


def test_a_batch_that_is_a_tensor_has_an_empty_path():
    view = first(train(nn.Linear(6, 6), DataLoader(torch.rand(16, 6), 8), lambda m, x: F.mse_loss(m(x), x)))
    assert roles(view) == {"": ("input", "table")}
    assert [leaf.path for leaf in view.inputs] == [""]


def test_segmentation_draws_pictures_beside_masks():
    model = nn.Conv2d(1, 1, 3, padding=1)
    data = TensorDataset(torch.rand(8, 1, 16, 16), (torch.rand(8, 1, 16, 16) > 0.5).float())
    view = first(train(model, DataLoader(data, 4), lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1])))
    assert roles(view)["[1]"] == ("target", "mask")
    assert view.pictures is not None
    assert [p.caption for p in view.pictures.pictures[:2]] == ["", "mask 1"]


def test_channels_last_is_noticed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 4))
    loader = DataLoader(TensorDataset(torch.rand(8, 16, 16, 3), torch.arange(8) % 4), 4)
    view = first(train(model, loader, classify))
    assert view.leaves[0].channels_last
    assert view.leaves[0].kind == "tensor"
    assert view.pictures is not None


def test_what_the_model_was_called_with_in_validation_is_described():
    data = TensorDataset(torch.rand(16, 3, 8, 8) * 255, torch.arange(16) % 4)
    model = conv()
    given = []
    model.register_forward_pre_hook(lambda module, args: given.append(args))

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            for x, y in DataLoader(data, 8):
                F.cross_entropy(model(x / 255), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, _ in DataLoader(data, 16):
                    model(x)

    recording = record(run)
    for call, args in zip(recording.calls, given, strict=False):
        call.inputs = args
    (entered,) = measured(measure_batches, recording).val[0].inputs
    assert (entered.path, entered.maximum > 1) == ("[0]", True)


def test_a_loop_without_a_loader_shows_what_entered_model_and_loss():
    torch.manual_seed(0)
    x, y = torch.randn(64, 6), torch.randint(0, 3, (64,))
    model = nn.Sequential(nn.Linear(6, 3))

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(14):
            rows = torch.randint(0, 64, (16,))
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()

    batches = measured(measure_batches, record(run))
    view = batches.train[0]
    assert batches.in_place_of_loader
    assert batches.first_layer == "Linear"
    assert roles(view) == {"input 0": ("input", "table"), "target 0": ("target", "labels")}
    assert view.leaves[1].shape == (16,)
    assert view.where is not None
    assert "backward()" in view.where.text


def test_two_loaders_side_by_side_keep_their_own_batches():
    left = DataLoader(TensorDataset(torch.randn(16, 5)), 4)
    right = DataLoader(TensorDataset(torch.randn(16, 5) + 100, torch.randn(16)), 4)
    model = nn.Linear(5, 1)

    def run() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        for _ in range(2):
            for (a,), (b, y) in zip(left, right, strict=True):
                optimizer.zero_grad()
                ((model(a).mean() + model(b).squeeze(1) - y) ** 2).mean().backward()
                optimizer.step()

    batches = measured(measure_batches, record(run))
    shown = {(leaf.path, leaf.role, leaf.mean > 50) for view in batches.train for leaf in view.inputs}
    assert shown == {("[0]", "input", False), ("[0]", "input", True)}


def test_odd_tensors_are_described_without_an_error():
    class Odd(Dataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int):
            return torch.rand(4), index % 2, torch.zeros(0), torch.tensor(1 + 2j), torch.tensor(True), "name"

    model = nn.Linear(4, 2)
    view = first(train(model, DataLoader(Odd(), 4), lambda m, b: F.cross_entropy(m(b[0]), b[1])))
    assert [leaf.shape for leaf in view.leaves] == [(4, 4), (4,), (4, 0), (4,), (4,)]


def test_nothing_trained_is_a_reason():
    with pytest.raises(CannotMeasureError, match="no training batch"):
        measured(measure_batches, record(lambda: None))


def test_reshaped_pictures_are_told_by_their_neighbouring_pixels():
    generator = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(16, 3, 4, 4, generator=generator), 16, mode="bilinear")
    reshaped = smooth.permute(0, 2, 3, 1).reshape(16, 3, 16, 16)
    noise = torch.randn(16, 3, 16, 16, generator=generator)
    gains = [describe("[0]", "input", pictures).interleaved for pictures in (reshaped, noise, smooth, torch.zeros(16, 3, 16, 16))]
    assert gains[0] > 2
    assert 0.9 < gains[1] < 1.1
    assert gains[2] < 0.9
    assert gains[3] == 0.0


def test_training_on_bare_tensors_is_called_what_it_is():
    def run() -> None:
        weight = torch.zeros(4, 2, requires_grad=True)
        for _ in range(3):
            (torch.randn(8, 4) @ weight).square().mean().backward()
            weight.data -= 0.1 * weight.grad

    with pytest.raises(CannotMeasureError, match="no model"):
        measured(measure_batches, record(run))


def test_samples_that_a_sampler_draws_twice_are_counted():
    torch.manual_seed(0)
    labels = torch.arange(40) % 4
    sampler = WeightedRandomSampler([1.0, 1.0], num_samples=40)
    view = first(train(conv(), DataLoader(TensorDataset(torch.rand(40, 3, 12, 12), labels), 20, sampler=sampler), classify))
    assert view.drawn_again == 18
    shuffled = first(train(conv(), DataLoader(TensorDataset(torch.rand(40, 3, 12, 12), labels), 20, shuffle=True), classify))
    assert shuffled.drawn_again == 0


def test_the_commonest_token_is_told_without_what_fills_up_the_ends():
    texts = torch.tensor([[2, 1, 1, 5, 0, 0], [2, 1, 1, 1, 1, 7], [3, 3, 3, 3, 3, 3]])
    leaf = describe("[0]", "input", texts)
    # Of the first text four tokens count, of the second five, of the third one.
    assert (leaf.commonest, leaf.commonest_share) == (1.0, pytest.approx(6 / 10))
    assert describe("[0]", "input", torch.randn(4, 8)).commonest_share == 0.0
