"""Checkpoints: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainlint.errors import UsageError, first_line
from trainlint.recipe.settings import Recipe

__all__ = ["FORMAT", "load_checkpoint", "save_checkpoint"]

FORMAT = 1
"""Version of the checkpoint's layout."""


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; a run that dies while writing leaves the earlier one. Raises UsageError when the place cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"format": FORMAT, **content}, file)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        msg = f"the checkpoint {path} could not be written: {error.strerror or error}"
        raise UsageError(msg) from error


def load_checkpoint(path: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only``; with a recipe, only one that was written under the same settings.

    Raises UsageError when the file is missing, is no checkpoint of a recipe, or belongs to another recipe.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        msg = f"the checkpoint {path} could not be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except Exception as error:
        msg = f"{path} is no checkpoint of `trainlint recipe`: {first_line(error)}"
        raise UsageError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "recipe" not in content:
        msg = f"{path} is no checkpoint of this version of `trainlint recipe`"
        raise UsageError(msg)
    if recipe is not None:
        mine = recipe.to_dict()
        differing = [f"{k} {content['recipe'].get(k)!r} there, {v!r} here" for k, v in mine.items() if content["recipe"].get(k) != v]
        if differing:
            msg = f"{path} was written under another recipe ({'; '.join(differing[:4])}): a run resumes with the settings it began with"
            raise UsageError(msg)
    return content
