"""What a reader sees of a batch: pictures with their labels, or the first rows of a table or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainlint.details import ImageGrid, Table
from trainlint.measurements import Leaf
from trainlint.probes.data.datasets import wrapped
from trainlint.probes.data.leaves import is_picture, looks_channels_last
from trainlint.probes.data.names import column_names
from trainlint.probes.data.pictures import MOST_PICTURES, Normalisation, draw

__all__ = ["picture_grid", "rows_of_batch"]

#: Rows, columns and characters of a table.
_ROWS, _COLUMNS, _CHARACTERS = 8, 12, 160

Values = Sequence[tuple[str, Tensor]]
Targets = Sequence[tuple[Leaf, Tensor]]


def picture_grid(
    title: str, entered: Values, targets: Targets, names: Mapping[int, str], normalised: Normalisation | None = None
) -> ImageGrid | None:
    """The largest pictures among the inputs, captioned with their labels, masks laid over; None when there are none."""
    images = [(p, found) for p, t in entered if (found := _as_pictures(t)) is not None]
    if not images:
        return None
    path, shown = max(images, key=lambda item: item[1].numel())
    masks = next((_as_masks(t) for leaf, t in targets if leaf.kind == "mask" and t.dim() >= 3 and len(t) == len(shown)), None)
    count = min(len(shown), MOST_PICTURES // 2 if masks is not None else MOST_PICTURES)
    captions = [_label(targets, row, len(shown), names) for row in range(count)]
    pictures, how = draw(shown[:count], captions, normalised, masks)
    size = " × ".join(map(str, shown.shape))
    return ImageGrid(title=title, pictures=pictures, note=f"{path}: {size} {str(shown.dtype).removeprefix('torch.')}; {how}")


def rows_of_batch(title: str, entered: Values, targets: Targets, names: Mapping[int, str], loader: DataLoader[Any] | None) -> Table | None:
    """The first samples of a table, of token ids (as text where the data comes with its tokenizer), or of single numbers."""
    columns: list[str] = []
    cells: list[list[str | float | int | None]] = []
    decode = _decoder(loader)
    texts = [(leaf.path if "target" in leaf.path else f"target {leaf.path}", t) for leaf, t in targets if leaf.kind == "tokens"]
    for path, tensor in (*sorted(entered, key=lambda item: -item[1].numel()), *texts):
        if len(columns) >= _COLUMNS or (cells and len(tensor) != len(entered[0][1])):
            continue
        values = tensor.detach().cpu()
        if values.dim() == 1:
            values = values[:, None]
        if values.dim() != 2 or values.is_complex():
            continue
        whole = not values.is_floating_point()
        if whole and values.shape[1] > 1 and columns and values.max() <= 1:
            continue  # which positions count is seen in the tokens themselves
        if whole and values.shape[1] > 1:
            columns.append(path)
            cells.append([_text(row, decode) for row in values[:_ROWS].tolist()])
            continue
        headings = column_names(loader.dataset if loader is not None else None, values.shape[1], path)
        for column in range(min(values.shape[1], _COLUMNS - len(columns))):
            columns.append(headings[column])
            cells.append([_number(v) for v in values[:_ROWS, column].tolist()])
    if not columns:
        return None
    rows = len(cells[0])
    samples = max(len(t) for _, t in entered)
    cells = [column for column in cells if len(column) == rows]
    if any(_label(targets, row, samples, names) for row in range(rows)):
        columns.append("target")
        cells.append([_label(targets, row, samples, names) for row in range(rows)])
    return Table(title=title, columns=tuple(columns[: len(cells)]), rows=tuple(zip(*cells, strict=True)))


def _as_pictures(tensor: Tensor) -> Tensor | None:
    """(B, C, H, W) pictures of a tensor that looks like some."""
    if looks_channels_last(tensor.shape):
        return tensor.movedim(-1, 1)
    if is_picture(tensor.shape):
        return tensor
    square = tensor.dim() == 3 and tensor.shape[1] == tensor.shape[2] >= 8
    return tensor[:, None] if square and tensor.dtype in (torch.uint8, torch.float32, torch.float64, torch.float16) else None


def _as_masks(tensor: Tensor) -> Tensor | None:
    """(B, H, W) class maps; of several binary maps a sample the first."""
    return tensor if tensor.dim() == 3 else tensor[:, 0] if tensor.dim() == 4 else None


def _label(targets: Targets, row: int, samples: int, names: Mapping[int, str]) -> str:
    """The targets of one sample in words; empty when they are no short thing."""
    said = []
    for leaf, tensor in targets:
        if len(leaf.shape) == 0 or leaf.shape[0] != samples or tensor[row].numel() > 1000:
            continue
        values = tensor[row].detach().reshape(-1).tolist()
        if len(values) == 1:
            value = values[0]
            # A 0 or 1 of floating type mostly asks another question than which of the dataset's classes it is.
            named = leaf.kind == "labels" and value == int(value) and (len(names) == 2 or "int" in leaf.dtype)
            said.append(f"{int(value)}: {names[int(value)]}" if named and int(value) in names else f"{value:.4g}")
        elif leaf.kind == "mask" and len(leaf.shape) == 2 and leaf.maximum <= 1:
            said.append("classes " + (", ".join(names.get(i, str(i)) for i, v in enumerate(values) if v) or "none"))
        elif len(leaf.shape) == 2 and len(values) <= 4:
            said.append(", ".join(f"{v:.3g}" for v in values))
    return "; ".join(said)


def _number(value: float) -> float | int | str:
    """A cell; what JSON and a reader cannot take as a number becomes a word."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return "NaN" if value != value else "inf" if value > 0 else "-inf"
    return value


def _text(row: Sequence[int], decode: Callable[[Sequence[int]], str] | None) -> str:
    same = next((i for i, value in enumerate(reversed(row)) if value != row[-1]), len(row) - 1)
    padding = f" (then {same - 1} × {row[-1]})" if same > 3 else ""
    row = row[: len(row) - same + 1] if padding else row
    text = decode(row) if decode is not None else " ".join(map(str, row))
    if len(text) <= _CHARACTERS:
        return text + padding
    return text[: _CHARACTERS - 1] + "…"


def _decoder(loader: DataLoader[Any] | None) -> Callable[[Sequence[int]], str] | None:
    """How the user's own tokenizer or vocabulary turns ids into text, where the dataset or the collate function holds one."""
    if loader is None:
        return None
    for owner in (loader.collate_fn, *wrapped(loader.dataset)):
        for name in ("tokenizer", "vocab", "vocabulary"):
            with suppress(Exception):
                decode: Any = getattr(getattr(owner, name, None), "decode", None)
                if callable(decode) and isinstance(decode([0, 0]), str):
                    return lambda row, d=decode: str(d(list(row)))  # type: ignore[misc]
        for held in (owner, *(getattr(owner, name, None) for name in ("vocab", "vocabulary", "tokenizer"))):
            words = getattr(held, "itos", None) or getattr(held, "idx2char", None) or getattr(held, "id_to_token", None)
            if isinstance(words, Mapping | list | tuple | str) and words:
                between = "" if all(len(str(w)) == 1 for w in list(words.values() if isinstance(words, Mapping) else words)[:50]) else " "
                table = dict(words) if isinstance(words, Mapping) else dict(enumerate(words))
                return lambda row, t=table, b=between: b.join(str(t.get(i, f"<{i}>")) for i in row)  # type: ignore[misc]
    return None
