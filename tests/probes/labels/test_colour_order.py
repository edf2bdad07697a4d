from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from probes.recorded import classify, conv, measured, record
from trainlint.measurements import ColourOrder
from trainlint.probes.labels.colour_order import measure_colour_order

#: Four classes: a bright patch at one of two places, more red or more blue, on a ground of another colour.
KINDS = [((0, 0), (0.9, 0.5, 0.2)), ((0, 0), (0.2, 0.5, 0.9)), ((8, 8), (0.9, 0.5, 0.2)), ((8, 8), (0.2, 0.5, 0.9))]


def pictures(count: int, seed: int, ground: tuple[float, ...] = (0.6, 0.4, 0.1)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    images = torch.tensor(ground)[None, :, None, None] + 0.1 * torch.randn(count, 3, 16, 16, generator=generator)
    for image, label in zip(images, labels, strict=True):
        (row, column), colour = KINDS[int(label)]
        image[:, row : row + 8, column : column + 8] += torch.tensor(colour)[:, None, None]
    return images, labels


class Frames(Dataset):
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        label = self.labels[index]
        frame = self.images[index]  # the line that reads
        return frame * 1.0, label


def found(val_set: Dataset, model: nn.Module | None = None) -> ColourOrder:
    model = model or conv()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        loader, val_loader = DataLoader(TensorDataset(*pictures(300, 0)), batch_size=32, shuffle=True), DataLoader(val_set, batch_size=64)
        for _ in range(2):
            for batch in loader:
                optimizer.zero_grad()
                classify(model, batch).backward()
                optimizer.step()
            with torch.no_grad():
                for batch in val_loader:
                    model(batch[0])

    return measured(measure_colour_order, record(run))


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_pictures_with_other_channels_are_known_again_in_the_right_order(order: tuple[int, ...]) -> None:
    images, labels = pictures(200, 1)
    one = found(Frames(images[:, list(order)], labels))
    assert one.order == tuple(order.index(channel) for channel in range(3))
    assert one.as_given < 0.6
    assert one.reordered > 0.95
    assert one.z > 6
    with open(__file__) as source:
        assert "# the line that reads" in source.readlines()[one.where.line - 1]


def test_pictures_like_those_of_training_need_no_other_order() -> None:
    one = found(TensorDataset(*pictures(200, 1)))
    assert one.order == ()
    assert one.as_given > 0.95


def test_renamed_classes_are_no_other_order() -> None:
    images, labels = pictures(200, 1)
    one = found(TensorDataset(images, (labels + 1) % 4))
    assert one.renamed > 0.9 > one.reordered


def test_grey_pictures_have_no_order() -> None:
    images, labels = pictures(200, 1)
    one = found(TensorDataset(images[:, :1], labels), nn.Sequential(nn.AdaptiveAvgPool3d((3, 8, 8)), conv()))
    assert one == ColourOrder()
