"""Pictures that a dataset mirrors at random, with and without what lies in them."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from probes.recorded import measured, train
from trainlint.probes.labels.mirrored import mirrored_pictures

HEIGHT, WIDTH = 24, 32


class Spots(Dataset):
    """A bright spot in noise; ``kind`` says what is told of it, ``follows`` whether that moves with the picture."""

    def __init__(self, kind: str, follows: bool, axis: int = -1, told: bool = False) -> None:
        draw = torch.Generator().manual_seed(0)
        self.pictures = torch.rand(48, 3, HEIGHT, WIDTH, generator=draw) * 0.4
        self.corner = torch.stack([torch.randint(0, n, (48,), generator=draw) for n in (WIDTH - 9, HEIGHT - 8)], 1)
        for picture, (x, y) in zip(self.pictures, self.corner.tolist(), strict=True):
            picture[:, y : y + 8, x : x + 9] += 0.6
        self.kind, self.follows, self.axis, self.told = kind, follows, axis, told

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):
        picture, (x, y) = self.pictures[index], self.corner[index].tolist()
        flipped = random.random() < 0.5  # what is drawn
        if flipped:
            picture = picture.flip(self.axis)
        picture = picture * random.uniform(0.9, 1.1)
        if flipped and self.follows:
            x, y = (WIDTH - 9 - x, y) if self.axis == -1 else (x, HEIGHT - 8 - y)
        box = torch.tensor([x, y, x + 9, y + 8], dtype=torch.float32)
        target = {
            "box": box,
            "share of the picture": box / torch.tensor([WIDTH, HEIGHT] * 2),
            "points": torch.stack([box[:2], box[2:], box[[0, 3]]]),
            "class": torch.tensor([float(index % 2)]),
            "list": {"boxes": box[None], "labels": torch.tensor([1])},
        }[self.kind]
        return (picture, target, torch.tensor(float(flipped))) if self.told else (picture, target)


def found(dataset):
    as_lists = (lambda rows: tuple(zip(*rows, strict=True))) if dataset.kind == "list" else None
    model = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 4))

    def loss(model, batch):
        return model(torch.stack(batch[0]) if isinstance(batch[0], tuple) else batch[0]).square().mean()

    recording = train(model, DataLoader(dataset, 8, shuffle=True, collate_fn=as_lists), loss)
    return measured(lambda recording, deadline, _settings: mirrored_pictures(recording, deadline), recording)


@pytest.mark.parametrize("kind", ["box", "share of the picture", "points", "list"])
def test_places_that_stay_behind_are_told_with_the_line_that_draws(kind):
    told = found(Spots(kind, follows=False))
    assert (told.kind, told.way) == ("points" if kind == "points" else "boxes", "mirrored")
    assert told.stayed > told.mirrored / 2
    assert told.where.text.endswith("# what is drawn")


def test_pictures_upside_down_are_told():
    assert found(Spots("box", follows=False, axis=-2)).way == "upside down"


@pytest.mark.parametrize("kind", ["box", "share of the picture", "points", "list"])
def test_places_that_follow_are_let_be(kind):
    assert found(Spots(kind, follows=True)) is None


def test_what_is_no_place_may_stay():
    assert found(Spots("class", follows=False)) is None


def test_a_loop_that_is_told_of_the_mirroring_may_make_up_for_it():
    assert found(Spots("box", follows=False, told=True)) is None


def test_a_dataset_without_augmentation_is_let_be():
    dataset = Spots("box", follows=False)
    dataset.__class__ = type("Still", (Spots,), {"__getitem__": lambda self, i: (self.pictures[i], self.corner[i].float().repeat(2))})
    assert found(dataset) is None
