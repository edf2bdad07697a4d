"""Shows the recorded batches: every tensor with its role and statistics, and the first of each phase drawn or listed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainlint.location import Location
from trainlint.measurements import Batches, BatchView, Normaliser
from trainlint.probes.data.datasets import class_names, normalisation, normaliser_of, transform_text
from trainlint.probes.data.excerpts import picture_grid, rows_of_batch
from trainlint.probes.data.histograms import column_statistics, histograms
from trainlint.probes.data.leaves import describe
from trainlint.probes.data.made import made_at
from trainlint.probes.data.names import spoken
from trainlint.probes.data.own_scale import own_scale
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.shared_buffer import shared_buffer
from trainlint.probes.data.wrapped import cast_at, wrapped_pictures
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.source.lost_scaling import lost_scaling
from trainlint.record.recording import Recording
from trainlint.record.seen import Batch, Loader
from trainlint.settings import Settings

__all__ = ["measure_batches"]

#: Batches described of each phase.
_MOST_TRAIN, _MOST_VAL = 8, 4
#: Tensors described of one batch.
_MOST_LEAVES = 32


def measure_batches(recording: Recording, deadline: float, settings: Settings) -> Batches:
    """Describe the recorded batches; for a loop without a DataLoader what entered the model and the loss."""
    flow = DataFlow(recording)
    train = _views(flow, "train", _MOST_TRAIN, deadline)
    val = _views(flow, "val", _MOST_VAL, deadline)
    if not train:
        train = tuple(_loose_views(flow))
    if not train:
        without = recording.backwards and not recording.calls
        why = "the script trains tensors of its own, no model" if without else "the script ended before its model was trained"
        raise CannotMeasureError(f"no training batch was seen: {why}")
    tables = bool(val) and any(leaf.kind == "table" for leaf in val[0].inputs or val[0].leaves)
    alone = own_scale(recording, deadline) if tables else None
    pictures = any(leaf.kind == "image" for leaf in train[0].inputs or train[0].leaves)
    wrapped = wrapped_pictures(recording, deadline) if pictures else 0.0
    return Batches(
        shared=shared_buffer(train, recording.frames) if not recording.loaders_of("train") else None,
        wrapped=wrapped,
        wrapped_where=recording.frames.location(cast_at(recording, deadline)) if wrapped else None,
        normaliser=_normaliser(recording),
        lost_scaling=_lost_scaling(recording, train[0]),
        val_scaled_to=alone.how if alone is not None else "",
        val_scaled_columns=alone.columns if alone is not None else 0,
        val_scaled_where=recording.frames.location(alone.place) if alone is not None else None,
        train=train,
        val=val,
        pretrained=_is_pretrained(recording),
        first_layer=flow.first_layer,
        normalised_inside=flow.rescaled or "Norm" in flow.first_layer,
        in_place_of_loader=not recording.loaders_of("train"),
    )


def _is_pretrained(recording: Recording) -> bool:
    """Whether weights came into a trained model before its first step, not only afterwards from a checkpoint."""
    loads = [number for number, happening in enumerate(recording.happenings) if happening.kind == "load"]
    steps = recording.steps
    if steps and loads and all(number > steps[0].happening for number in loads):
        return False
    return any(id(module) in recording.loaded for model in recording.models() for module in model.modules())


def _views(flow: DataFlow, phase: str, most: int, deadline: float) -> tuple[BatchView, ...]:
    chosen = [b for b in flow.batches if flow.phase(b) == phase and b.leaves][:most]
    views: list[BatchView] = []
    for batch in chosen:
        if views and time.monotonic() > deadline:
            break
        views.append(_view(flow, batch, phase, draw=not views))
    return tuple(views)


def _view(flow: DataFlow, batch: Batch, phase: str, *, draw: bool) -> BatchView:
    loader = batch.iteration.loader if batch.iteration is not None else None
    index = loader.index if loader is not None else -1
    roles = {path: flow.role(index, path) for path in batch.leaves}
    entered = [(p, t) for p, t in flow.entered.get(id(batch), []) if roles.get(p) != "target"]
    entered = _of_batch(entered, batch)
    if flow.changed and not entered:
        # What the loop made of these is not known, so nothing may be said about them as inputs.
        roles = {path: "other" if role == "input" else role for path, role in roles.items()}
    named = list(batch.leaves.items())[:_MOST_LEAVES]
    alone = {p: (t, describe(p, "input", t)) for p, t in named if roles[p] == "input"}
    tokens = any(leaf.kind == "tokens" for _, leaf in alone.values())
    made = _made(flow.recording, loader) if loader is not None and draw else {}
    leaves = [
        replace(alone[p][1] if p in alone else describe(p, roles[p], t, beside_tokens=tokens), made_where=made.get(p)) for p, t in named
    ]
    inputs = [
        replace(alone[p][1] if p in alone and _is_same(alone[p][0], t) else describe(p, "input", t), made_where=made.get(p))
        for p, t in entered[:_MOST_LEAVES]
    ]
    dataset: Any = loader.loader.dataset if loader is not None else None
    view = BatchView(
        phase=phase,
        leaves=tuple(leaves),
        inputs=tuple(inputs),
        where=flow.recording.frames.location(flow.recording.dataset_place(loader) if loader is not None else None),
        transform=transform_text(dataset),
        drawn_again=_drawn_again(batch),
    )
    return _drawn(view, entered or [(p, t) for p, t in named if roles[p] == "input"], dict(named), dataset, loader) if draw else view


def _drawn_again(batch: Batch) -> int:
    indices = batch.iteration.indices if batch.iteration is not None else []
    drawn = indices[batch.position] if batch.position < len(indices) else None
    try:
        return len(drawn) - len({int(i) for i in drawn}) if isinstance(drawn, list) else 0
    except (TypeError, ValueError):
        return 0


def _is_same(one: Tensor, other: Tensor) -> bool:
    plain = one.layout is other.layout is torch.strided and one.dtype == other.dtype and one.device == other.device
    return one is other or (plain and torch.equal(one, other))


def _made(recording: Recording, loader: Loader) -> dict[str, Location]:
    found = {path: recording.frames.location(place) for path, place in made_at(recording, loader).items()}
    return {path: place for path, place in found.items() if place is not None}


def _of_batch(entered: Sequence[tuple[str, Tensor]], batch: Batch) -> list[tuple[str, Tensor]]:
    """Leave out what no sample of the batch can be: attention masks, positions, centres shared by all samples."""
    sizes = [t.shape[0] for t in batch.leaves.values() if t.dim() > 0]
    size = max(sizes, key=sizes.count, default=0)
    kept = [(p, t) for p, t in entered if p in batch.leaves or (size and t.shape[0] % size == 0)]
    return kept or list(entered)


def _loose_views(flow: DataFlow) -> Iterator[BatchView]:
    for number, (backward, entered, targets) in enumerate(flow.loose[:_MOST_TRAIN]):
        if not entered and not targets:
            continue
        inputs = [describe(p, "input", t) for p, t in entered[:_MOST_LEAVES]]
        tokens = any(leaf.kind == "tokens" for leaf in inputs)
        labels = [describe(p, "target", t, beside_tokens=tokens) for p, t in targets[:_MOST_LEAVES]]
        sizes = {math.prod(leaf.shape) for leaf in inputs if leaf.kind == "tokens" and len(leaf.shape) > 1}
        labels = [replace(leaf, kind="tokens") if leaf.kind == "labels" and math.prod(leaf.shape) in sizes else leaf for leaf in labels]
        loader = backward.iteration.loader if backward.iteration is not None else None
        view = BatchView(
            phase="train",
            leaves=(*inputs, *labels),
            inputs=tuple(inputs),
            where=flow.recording.frames.location(loader.place if loader is not None else backward.place),
        )
        dataset = loader.loader.dataset if loader is not None else None
        yield _drawn(view, entered, dict([*entered, *targets]), dataset, loader) if number == 0 else view


def _normaliser(recording: Recording) -> Normaliser | None:
    entry = next(iter(recording.loaders_of("train")), None)
    found = normaliser_of(entry.loader.dataset) if entry is not None else None
    if found is None:
        return None
    transform, means, stds = found
    return Normaliser(means=means, stds=stds, where=recording.frames.location(recording.places.get(id(transform))))


def _lost_scaling(recording: Recording, view: BatchView) -> Location | None:
    entry = next(iter(recording.loaders_of("train")), None)
    paths = [leaf.path for leaf in view.leaves if leaf.role == "input"] if entry is not None else []
    places = (lost_scaling(recording, entry, path) for path in paths if entry is not None)
    return recording.frames.location(next((place for place in places if place is not None), None))


def _drawn(view: BatchView, entered: Sequence[tuple[str, Tensor]], values: dict[str, Tensor], dataset: Any, loader: Any) -> BatchView:
    """Add pictures or a table of the batch; whatever cannot be drawn is left out."""
    title = "First training batch" if view.phase == "train" else "First validation batch"
    entered = [(path, values.get(path, tensor)) for path, tensor in entered]  # pictures before they were flattened
    targets = [(leaf, values[leaf.path]) for leaf in view.leaves if leaf.role == "target" and leaf.path in values]
    read, asked = spoken([path for path, _ in entered], "input"), spoken([leaf.path for leaf, _ in targets], "target")
    entered = [(read[path], tensor) for path, tensor in entered]
    targets = [(replace(leaf, path=asked[leaf.path]), tensor) for leaf, tensor in targets]
    try:
        names = class_names(dataset) if dataset is not None else {}
        pictures = picture_grid(title, entered, targets, names, normalisation(dataset) if dataset is not None else None)
        table = None if pictures else rows_of_batch(title, entered, targets, names, loader.loader if loader is not None else None)
        inputs = [(describe(path, "input", tensor), tensor) for path, tensor in entered]
        batch = title[0].lower() + title[1:]
        spreads, columns = tuple(histograms(batch, inputs, targets)), column_statistics(batch, inputs, targets, dataset)
    except Exception:
        return view
    return replace(view, pictures=pictures, table=table, columns=columns, histograms=spreads)
