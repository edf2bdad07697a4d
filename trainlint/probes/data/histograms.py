"""How the values of a batch are spread: histograms of its main input and targets, statistics of a table's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trainlint.details import Line, Series, Table
from trainlint.measurements import Leaf
from trainlint.probes.data.names import column_names

__all__ = ["column_statistics", "histograms"]

#: Most bins of a histogram (as many as Rice's rule gives, but no fewer than 8); values are taken at regular distances from larger tensors.
_LEAST_BINS, _MOST_BINS, _MOST_VALUES = 8, 48, 2**20
#: Columns whose statistics are listed.
_MOST_COLUMNS = 32
_COLOURS = ("red", "green", "blue")


def histograms(title: str, inputs: Sequence[tuple[Leaf, Tensor]], targets: Sequence[tuple[Leaf, Tensor]]) -> Iterator[Series]:
    """Histograms of the largest input of real numbers (of pictures one for each channel) and of targets that are real numbers.

    ``title`` names the batch. Tables have :func:`column_statistics` instead, tokens and class labels no histogram.
    """
    real = [
        (leaf, t) for leaf, t in inputs if leaf.kind in ("image", "sequence", "tensor") and t.is_floating_point() | (leaf.kind == "image")
    ]
    if real:
        leaf, tensor = max(real, key=lambda pair: pair[1].numel())
        yield _histogram(f"{'Pixel values' if leaf.kind == 'image' else 'Input values'}, {title}", "value", _channels(leaf, tensor))
    for leaf, tensor in targets:
        if leaf.kind == "scalar" and tensor.is_floating_point() and leaf.distinct > 2:
            yield _histogram(f"Targets, {title}", "target", {leaf.path: tensor})


def column_statistics(
    title: str, inputs: Sequence[tuple[Leaf, Tensor]], targets: Sequence[tuple[Leaf, Tensor]], dataset: Any = None
) -> Table | None:
    """Smallest, mean, standard deviation and largest value of each column of the tables in a batch; None when it has no table.

    ``dataset`` may hold the columns' names.
    """
    tables = [(leaf, t) for leaf, t in inputs if leaf.kind == "table"]
    if not tables:
        return None
    columns = [(name, t[:, i]) for leaf, t in tables for i, name in enumerate(column_names(dataset, t.shape[1], leaf.path))][:_MOST_COLUMNS]
    columns += [(leaf.path if "target" in leaf.path else f"target {leaf.path}", t) for leaf, t in targets if leaf.kind == "scalar"]
    rows = []
    for name, values in columns:
        known = _known(values)
        note = "constant" if known.numel() and bool((known == known[0]).all()) else ""
        if missing := values.numel() - known.numel():
            note = f"{missing} not finite"
        numbers = (known.min(), known.mean(), known.std(correction=0), known.max()) if known.numel() else ()
        rows.append((name, *(float(n) for n in numbers), *([None] * (4 - len(numbers))), int(known.unique().numel()), note))
    return Table(title=f"Columns of the {title}", columns=("column", "min", "mean", "std", "max", "different values", ""), rows=tuple(rows))


def _channels(leaf: Leaf, tensor: Tensor) -> dict[str, Tensor]:
    """Values by the channel of a picture; else all values together."""
    if leaf.kind != "image":
        return {leaf.path: tensor}
    if tensor.shape[1] == 3:
        return {f"{_COLOURS[i]} (channel {i})": tensor[:, i] for i in range(3)}
    return {f"channel {i}": tensor[:, i] for i in range(tensor.shape[1])}


def _histogram(title: str, x_label: str, parts: dict[str, Tensor]) -> Series:
    known = {name: _known(values) for name, values in parts.items()}
    filled = [values for values in known.values() if values.numel()]
    low = min((float(values.min()) for values in filled), default=0.0)
    high = max((float(values.max()) for values in filled), default=1.0)
    bins = round(2 * max((values.numel() for values in filled), default=0) ** (1 / 3))
    bins = min(max(bins, _LEAST_BINS), _MOST_BINS)
    width = (high - low) / bins or 1.0
    centres = tuple(low + (i + 0.5) * width for i in range(bins))
    lines = []
    for position, (name, values) in enumerate(known.items()):
        counts = torch.histc(values, bins, low, low + bins * width) if values.numel() else torch.zeros(bins)
        colour = _COLOURS[position] if name.startswith(_COLOURS) else ""
        lines.append(Line(name=name, x=centres, y=tuple((counts / max(values.numel(), 1)).tolist()), colour=colour))
    return Series(title=title, x_label=x_label, y_label="share of values", lines=tuple(lines))


def _known(values: Tensor) -> Tensor:
    """The finite values, flat, as float64; of a large tensor those at regular distances."""
    flat = values.detach().reshape(-1)
    flat = flat[:: -(-flat.numel() // _MOST_VALUES) or 1].cpu().double()
    return flat[torch.isfinite(flat)]
