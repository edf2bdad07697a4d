"""Pairs of model and data of every kind that check() takes; each function gives the arguments of one call."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Call = tuple[tuple[Any, ...], dict[str, Any]]
KINDS: dict[str, Callable[[], Call]] = {}


def kind(build: Callable[[], Call]) -> Callable[[], Call]:
    KINDS[build.__name__.replace("_", "-")] = build
    return build


N, WIDTH, CLASSES = 48, 6, 3
x = torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
images = torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))
tokens = torch.randint(1, 30, (N, 7), generator=torch.Generator().manual_seed(2))


def mlp(out: int = CLASSES, wide: int = WIDTH) -> nn.Module:
    return nn.Sequential(nn.Linear(wide, 16), nn.ReLU(), nn.Linear(16, out))


def loader(*tensors: Tensor, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(*tensors), 8, shuffle=True, **options)


class Dicts(Dataset):
    def __init__(self, **columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {k: v[index] for k, v in self.columns.items()}


@kind
def classification() -> Call:
    return (mlp(), loader(x, y)), {}


@kind
def with_loss_optimizer_scheduler_and_validation() -> Call:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return (model, loader(x, y)), {
        "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, "val_loader": DataLoader(TensorDataset(torch.randn(16, WIDTH), torch.arange(16) % 3), 8),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2),
    }  # fmt: skip


@kind
def list_of_batches() -> Call:
    return (mlp(), list(loader(x, y))), {}


@kind
def regression() -> Call:
    return (mlp(1), loader(x, x[:, :1] * 2)), {}


@kind
def regression_of_one_axis() -> Call:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).squeeze(-1)

    return (Flat(), loader(x, x[:, 0])), {}


@kind
def multi_label() -> Call:
    return (mlp(4), loader(x, (x[:, :4] > 0).float())), {}


@kind
def segmentation() -> Call:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return (model, loader(images, (images[:, 0] > 0).long())), {}


@kind
def segmentation_whose_output_is_a_mapping() -> Call:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": self.body(x)}

    return (Named(), loader(images, (images[:, 0] > 0).long())), {}


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp(), mlp()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


@kind
def several_inputs() -> Call:
    return (Sum(), loader(x, x.flip(1), y)), {}


@kind
def several_inputs_in_a_tuple() -> Call:
    pairs = [((a, b), t) for a, b, t in loader(x, x.flip(1), y)]
    return (Sum(), pairs), {}


@kind
def mapping_of_inputs_and_a_target() -> Call:
    pairs = [({"a": a, "b": b}, t) for a, b, t in loader(x, x.flip(1), y)]
    return (Sum(), pairs), {}


@kind
def mapping_with_a_label() -> Call:
    return (Sum(), DataLoader(Dicts(a=x, b=x, label=y), 8, shuffle=True)), {}


@kind
def mapping_with_other_names_than_the_model() -> Call:
    return (mlp(), DataLoader(Dicts(features=x, target=y), 8, shuffle=True)), {}


@kind
def named_tuple() -> Call:
    sample = namedtuple("sample", "features target")
    return (mlp(), [sample(a, b) for a, b in loader(x, y)]), {}
