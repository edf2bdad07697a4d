"""A problem: what builds a fresh model and its loaders for a recipe. Ablation, search and several runs train it again and again."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.utils import random_seed
from torch import nn
from torch.utils.data import DataLoader

from trainlint.errors import UsageError, first_line
from trainlint.recipe.augment import TrainTransform, eval_transform
from trainlint.recipe.data import ImageFolders, Transformed, open_image_folders
from trainlint.recipe.settings import Recipe

__all__ = ["Pieces", "Problem", "build_model", "image_folder_problem"]


@dataclass(frozen=True)
class Pieces:
    """What one training needs."""

    model: nn.Module
    train_loader: Iterable[Any]
    val_loader: Iterable[Any]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Ingredients that the model does not take, in words."""


#: Builds fresh pieces for a recipe; the same ones each time for the same recipe.
Problem = Callable[[Recipe], Pieces]


def image_folder_problem(
    folder: Path | str,
    model: str,
    *,
    size: int | None = None,
    weights: Path | str | None = None,
    model_options: Mapping[str, Any] | None = None,
    workers: int = 0,
    val_share: float = 0.2,
) -> Problem:
    """A timm model over an image folder.

    Args:
        folder: Images, as :func:`~trainlint.recipe.data.open_image_folders` takes them.
        model: A name that timm knows.
        size: Side of the square images in pixels; the model's own by default.
        weights: File with pretrained weights of that model, .safetensors or .pth; its head is replaced. Nothing is downloaded.
        model_options: Further arguments of the model, such as ``{"patch_size": 4}``.
        workers: Processes that load images.
        val_share: Share of each class held back when the folder has no validation images.
    """
    images = open_image_folders(Path(folder), val_share=val_share)

    def build(recipe: Recipe) -> Pieces:
        random_seed(recipe.seed)
        net, notes = build_model(model, len(images.classes), recipe, size=size, weights=weights, options=model_options or {})
        config = resolve_model_data_config(net)
        side = size or int(config["input_size"][-1])
        return Pieces(net, *_loaders(images, recipe, side, config, workers), images.classes, notes)

    return build


def _loaders(
    images: ImageFolders, recipe: Recipe, side: int, config: Mapping[str, Any], workers: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    mean, std = tuple(config["mean"]), tuple(config["std"])
    train = Transformed(images.train, TrainTransform(recipe, side, mean, std))
    val = Transformed(images.val, eval_transform(side, mean, std))
    pinned = torch.cuda.is_available()
    # A last batch of one sample would break batch norm.
    full = len(train) > recipe.batch_size
    return (
        DataLoader(train, recipe.batch_size, shuffle=True, drop_last=full, num_workers=workers, pin_memory=pinned),
        DataLoader(val, max(recipe.batch_size, 128), num_workers=workers, pin_memory=pinned),
    )


def build_model(
    name: str, classes: int, recipe: Recipe, *, size: int | None = None, weights: Path | str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[nn.Module, tuple[str, ...]]:  # fmt: skip
    """A timm model with a head for ``classes``, and notes on settings it does not take.

    Raises UsageError for an unknown name, an option the model refuses, or weights that do not fit.
    """
    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        msg = f"timm has no model {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise UsageError(msg)
    given = dict(options or {})
    if weights is not None:
        if not Path(weights).is_file():
            msg = f"there is no file of weights {weights}"
            raise UsageError(msg)
        given |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights), "hf_hub_id": None, "url": ""}}
    wanted: dict[str, Any] = {}
    if size is not None:
        wanted["img_size"] = size
    if recipe.drop_path:
        wanted["drop_path_rate"] = recipe.drop_path
    if recipe.dropout:
        wanted["drop_rate"] = recipe.dropout
    refused: list[str] = []
    while True:
        try:
            model: nn.Module = timm.create_model(name, num_classes=classes, **given, **wanted)
            break
        except TypeError as error:
            # timm hands unknown arguments to the model's class, whose message names them.
            unwanted = next((key for key in wanted if f"'{key}'" in str(error)), None)
            if unwanted is None:
                msg = f"timm's {name} refuses these options ({error}): mend --model-option"
                raise UsageError(msg) from error
            del wanted[unwanted]
            refused.append(unwanted)
        except Exception as error:
            what = f"timm could not build {name}" if weights is None else f"{weights} could not be read as weights of {name}"
            msg = f"{what}: {first_line(error)[:200]}"
            raise UsageError(msg) from error
    words = {"drop_path_rate": "stochastic depth", "drop_rate": "dropout"}
    return model, tuple(f"{name} takes no {words[key]}" for key in refused if key in words)
