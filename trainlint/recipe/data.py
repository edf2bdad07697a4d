"""Image folders as datasets, and what the recipe does to loaders: balanced sampling, class counts, strength of augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, WeightedRandomSampler
from torchvision.datasets import ImageFolder

from trainlint.errors import InputError, UsageError, first_line
from trainlint.recipe.evaluation import split_batch

__all__ = ["ImageFolders", "balanced_loader", "class_counts", "labels_of", "open_image_folders", "set_strength"]

_VALIDATION = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class ImageFolders:
    """Training and validation images without transforms."""

    train: Dataset[Any]
    """(PIL image, label)."""
    val: Dataset[Any]
    classes: tuple[str, ...]


class Transformed(Dataset[Any]):
    """A dataset of (image, label) seen through a transform of the image."""

    def __init__(self, dataset: Dataset[Any], transform: Any) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.dataset[index]
        return self.transform(image), label


def open_image_folders(folder: Path, *, val_share: float = 0.2, seed: int = 0) -> ImageFolders:
    """``folder/train/CLASS/*`` with ``folder/val/CLASS/*`` (or valid, validation, test), or ``folder/CLASS/*`` split at random by class.

    Raises UsageError when there are no such folders, or the two disagree about the classes.
    """
    if not folder.is_dir():
        msg = f"there is no folder {folder}"
        raise UsageError(msg)
    if (folder / "train").is_dir():
        name = next((n for n in _VALIDATION if (folder / n).is_dir()), None)
        if name is None:
            msg = f"{folder} has train/ but no validation images: put them in {folder / 'val'}"
            raise UsageError(msg)
        train, val = _images(folder / "train"), _images(folder / name)
        if train.classes != val.classes:
            odd = sorted(set(train.classes) ^ set(val.classes))
            msg = f"train/ and {name}/ have different class folders ({', '.join(odd[:5])}): labels would not mean the same"
            raise UsageError(msg)
        return ImageFolders(train, val, tuple(train.classes))
    images = _images(folder)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(images.targets)
    chosen: list[int] = []
    for label in range(len(images.classes)):
        members = (labels == label).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        chosen += order[: max(1, round(val_share * len(order)))].tolist()
    held = set(chosen)
    rest = [i for i in range(len(images)) if i not in held]
    if not rest:
        msg = f"{folder} has too few images to hold some back for validation"
        raise UsageError(msg)
    return ImageFolders(Subset(images, rest), Subset(images, sorted(held)), tuple(images.classes))


def _images(folder: Path) -> ImageFolder:
    try:
        return ImageFolder(str(folder))
    except (FileNotFoundError, OSError) as error:
        msg = f"{folder} is no folder of images: each class needs a folder of its own with images in it ({first_line(error)})"
        raise UsageError(msg) from error


def labels_of(dataset: Any) -> list[int] | None:
    """Labels of a dataset that holds them (``targets``, a subset of such a one, a TensorDataset), or None."""
    if isinstance(dataset, Subset):
        inner = labels_of(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    if isinstance(dataset, Transformed):
        return labels_of(dataset.dataset)
    held = getattr(dataset, "targets", None)
    if held is None and len(getattr(dataset, "tensors", ())) == 2:
        held = dataset.tensors[1]
    if isinstance(held, Tensor):
        held = held.tolist()
    return [int(label) for label in held] if isinstance(held, Sequence) else None


def class_counts(loader: Iterable[Any], classes: int) -> list[int]:
    """Samples of each class, by one pass over the loader where the dataset does not hold its labels."""
    labels = labels_of(getattr(loader, "dataset", None))
    if labels is None:
        labels = [int(label) for batch in loader for label in split_batch(batch)[1]]
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    return [int(c) for c in counts]


def balanced_loader(loader: Iterable[Any]) -> DataLoader[Any]:
    """The same loader with every class drawn equally often, with replacement.

    Raises InputError for what is no DataLoader over a map-style dataset with a plain batch size.
    """
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler or not loader.batch_size:
        msg = "balanced sampling needs a torch DataLoader with a batch size and a dataset that can be indexed; for another loader, give it a WeightedRandomSampler"
        raise InputError(msg)
    labels = labels_of(loader.dataset)
    if labels is None:
        labels = [int(loader.dataset[i][1]) for i in range(len(loader.dataset))]  # type: ignore[arg-type]
    counts = torch.bincount(torch.tensor(labels)).clamp(min=1)
    weights = (1.0 / counts)[torch.tensor(labels)]
    return DataLoader(
        loader.dataset,
        loader.batch_size,
        sampler=WeightedRandomSampler(weights.tolist(), len(labels)),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        worker_init_fn=loader.worker_init_fn,
    )


def set_strength(loader: Iterable[Any], strength: float) -> None:
    """Turn the augmentation of a loader that the recipe built; others are left alone. Workers see it in their next epoch."""
    dataset = getattr(loader, "dataset", None)
    strengthen = getattr(dataset.transform, "strengthen", None) if isinstance(dataset, Transformed) else None
    if strengthen is not None:
        strengthen(strength)
