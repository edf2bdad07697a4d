"""Measures whether labels belong to inputs: a cheap probe on samples of the training and of the validation data, without the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from trainlint.details import ImageGrid, Picture
from trainlint.measurements import GivenAway, Labels, Mismatch, Signal, Suspect, TornPairs
from trainlint.probes.data.collate_pairs import torn_pairs
from trainlint.probes.data.datasets import class_names, label_vectors
from trainlint.probes.data.drawing import lines_that_draw
from trainlint.probes.data.made import made_at
from trainlint.probes.data.pictures import draw
from trainlint.probes.data.ridge import Ridge, Rows
from trainlint.probes.data.roles import DataFlow
from trainlint.probes.data.split_samples import Split, read_split, root_of, samples_of
from trainlint.probes.data.value_source import reordered_alone, value_source
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.between_labels import between_labels
from trainlint.probes.labels.class_checks import balanced_accuracy, find_noise, match_classes
from trainlint.probes.labels.given_away import given_away, picked_at
from trainlint.probes.labels.held_out import train_a_while
from trainlint.probes.labels.kept_targets import kept_answers
from trainlint.probes.labels.mask_fit import MaskProbe, mask_signal, probe_masks
from trainlint.probes.labels.mirrored import mirrored_pictures
from trainlint.probes.labels.pairing import Probed, find_mismatch, find_repair, find_stretch
from trainlint.probes.labels.shifted_tags import shifted_tags
from trainlint.probes.labels.split_origin import made_apart
from trainlint.probes.labels.tokens_ahead import tokens_ahead
from trainlint.probes.labels.view_pairs import view_pairs
from trainlint.probes.source.index_joins import joined_apart
from trainlint.probes.source.table_orders import ordered_apart
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_labels"]

#: Neighbours are very close at this share of the distance of two samples.
_CLOSE = 0.2
#: Signals this far from chance are sure; those below the second are none.
_SURE, _NONE = 6.0, 2.33


def measure_labels(recording: Recording, deadline: float, settings: Settings) -> Labels:
    """Probe both parts, alone and against each other."""
    splits: dict[str, Split] = {}
    reasons: dict[str, str] = {}
    for phase in ("train", "val"):
        try:
            splits[phase] = read_split(recording, phase, deadline)
        except CannotMeasureError as error:
            reasons[phase] = str(error)
    torn, shifted, mirrored = _torn(recording), shifted_tags(recording, deadline), mirrored_pictures(recording, deadline)
    ahead = tokens_ahead(recording, deadline)
    kept, views = kept_answers(recording), view_pairs(recording, deadline)
    if not splits and kept is None and views is None and torn is None and shifted is None and mirrored is None and ahead is None:
        raise CannotMeasureError(reasons["train"])
    where = {p: place for p, s in splits.items() if (place := recording.frames.location(_where(recording, s))) is not None}
    names = {p: {f"{k}": v for k, v in class_names(s.samples.dataset).items()} for p, s in splits.items()}
    built = {p: place for p, s in splits.items() if (place := recording.frames.location(recording.dataset_place(s.entry))) is not None}
    alone = {p: reordered_alone(s.samples, recording.frames) or _ordered_apart(recording, s) for p, s in splits.items()}
    reordered = {p: place for p, found in alone.items() if (place := recording.frames.location(found)) is not None}
    met = {p: joined_apart(recording, s.entry, s.target) for p, s in splits.items()}
    joined = {p: place for p, found in met.items() if (place := recording.frames.location(found)) is not None}
    apart = made_apart(recording, *((splits[p].entry, splits[p].target) for p in ("train", "val"))) if len(splits) == 2 else None
    found = Labels(
        built=built or None,
        apart=recording.frames.location(apart),
        shifted=shifted,
        ahead=ahead,
        mirrored=mirrored,
        torn=torn,
        kept=kept,
        views=views,
        given_away=_given_away(recording, splits["train"]) if "train" in splits else None,
        where=where or None,
        joined=joined or None,
        reordered=reordered or None,
        names={p: n for p, n in names.items() if n} or None,
    )
    if any(s.kind == "masks" for s in splits.values()):
        train_masks = splits["train"].masks if "train" in splits and splits["train"].kind == "masks" else []
        found = replace(found, between=between_labels(train_masks) if train_masks else None)
        return replace(found, signals=_masks(splits, reasons, recording.frames), reasons=reasons or None)
    probed: dict[str, Probed] = {}
    for phase, split in splits.items():
        try:
            probed[phase] = _probe(split)
        except (ValueError, np.linalg.LinAlgError) as error:
            reasons[phase] = f"no probe could be fitted: {error}"
    found = replace(found, signals=tuple(_signal(one, probed, deadline) for one in probed.values()), reasons=reasons or None)
    if "train" in splits and not splits["train"].random and found.signals and all(s.z < _NONE for s in found.signals):
        found = replace(found, lesson=train_a_while(recording, splits["train"], deadline))
    found = replace(found, transfer=_transfer(probed))
    train, val = probed.get("train"), splits.get("val")
    if train is not None and train.split.kind == "classes":
        found = _with_noise(replace(found, held_out=found.signals[0].accuracy), train)
        if val is not None and val.kind == "classes" and not val.relates and val.features.shape[1] == train.split.features.shape[1]:
            found = replace(found, match=match_classes(train, val))
    return _with_sets(found, splits)


def _ordered_apart(recording: Recording, split: Split) -> Place | None:
    found = (ordered_apart(recording, split.entry, path, split.target) for path in split.inputs)
    return next((place for place in found if place is not None), None)


def _given_away(recording: Recording, split: Split) -> GivenAway | None:
    found = given_away(split)
    dataset, _ = root_of(split.samples.dataset, split.indices[:1])
    return replace(found, where=recording.frames.location(picked_at(dataset, split.target))) if found is not None else None


def _torn(recording: Recording) -> TornPairs | None:
    entry = next(iter(recording.loaders_of("train")), None)
    if entry is None:
        return None
    flow = DataFlow(recording)
    return torn_pairs(samples_of(entry), lambda path: flow.role(entry.index, path), recording.frames)


def _where(recording: Recording, split: Split) -> Place | None:
    found = value_source(split.samples, recording.frames, split.target)
    return found or made_at(recording, split.entry).get(split.target) or recording.dataset_place(split.entry)


def _probe(split: Split) -> Probed:
    ridge, targets = Ridge(split.features), split.columns()
    return Probed(split, ridge, targets, ridge.fit(targets, np.random.default_rng(0)))


def _signal(one: Probed, probed: dict[str, Probed], deadline: float) -> Signal:
    split, fit = one.split, one.fit
    accuracy = None
    if split.kind == "classes":
        known = np.isin(split.labels, split.classes)
        accuracy = balanced_accuracy(fit.held_out[known].argmax(1), np.searchsorted(split.classes, split.labels[known]))
    pairs, agree, chance = _close_pairs(one)
    others = [o.split for o in probed.values() if o is not one and o.split.labels.shape[1:] == split.labels.shape[1:]]
    repair = find_repair(one, others) if fit.z < _NONE and not split.ids and time.monotonic() < deadline else None
    return Signal(
        phase=split.phase,
        kind=split.kind,
        samples=len(one.targets),
        total=split.total,
        score=fit.score,
        chance=fit.chance,
        z=fit.z,
        p=fit.p,
        accuracy=accuracy,
        classes=len(split.classes) if split.kind == "classes" else None,
        nearest=float(np.median(one.ridge.nearest)),
        close_pairs=pairs,
        close_agree=agree,
        close_chance=chance,
        random=split.random,
        pictures="image" in split.kinds.values(),
        relational=split.relates,
        repair=repair,
        mismatch=_mismatch(one, probed) if not split.relates and time.monotonic() < deadline else None,
    )


def _close_pairs(one: Probed) -> tuple[int, float | None, float | None]:
    """``(pairs, agreement, chance)`` of samples and a very close neighbour; agreement is the share of equal labels, or 1 - |difference of ranks|."""
    close = np.flatnonzero(one.ridge.nearest < _CLOSE)
    if not len(close):
        return 0, None, None
    near = one.ridge.neighbour[close]
    generator = np.random.default_rng(0)
    far = [generator.permutation(len(one.targets))[: len(close)] for _ in range(20)]
    labels: Rows = one.split.labels if one.split.kind != "values" else one.targets
    alike = (lambda a, b: a == b) if one.split.kind != "values" else (lambda a, b: 1 - np.abs(a - b))
    chance = np.mean([float(np.mean(alike(labels[close], labels[f]))) for f in far])
    return len(close), float(np.mean(alike(labels[close], labels[near]))), float(chance)


def _mismatch(one: Probed, probed: dict[str, Probed]) -> Mismatch | None:
    """What contradicts these labels: the other part when they show nothing, else a stretch of their own."""
    generator = np.random.default_rng(0)
    if one.fit.z >= _SURE:
        return find_stretch(one, generator)
    other = next((o for o in probed.values() if o is not one), None)
    if other is None or one.fit.z > _NONE or other.fit.z < _SURE or other.split.kind != one.split.kind:
        return None
    if other.split.features.shape[1] != one.split.features.shape[1] or (
        one.split.kind != "classes" and other.targets.shape[1] != one.targets.shape[1]
    ):
        return None
    return find_mismatch(other, one, "the validation data" if other.split.phase == "val" else "the training data", generator)


def _transfer(probed: dict[str, Probed]) -> Mismatch | None:
    """What training teaches of validation, where both can be learned from by themselves."""
    if (
        len(probed) < 2
        or any(one.split.relates or one.fit.z < _SURE for one in probed.values())
        or len({one.split.kind for one in probed.values()}) > 1
    ):
        return None
    train, val = probed["train"], probed["val"]
    if train.split.features.shape[1] != val.split.features.shape[1] or (
        val.split.kind != "classes" and train.targets.shape[1] != val.targets.shape[1]
    ):
        return None
    return find_mismatch(train, val, "the training data", np.random.default_rng(0))


def _masks(splits: dict[str, Split], reasons: dict[str, str], frames: Frames) -> tuple[Signal, ...]:
    probes: dict[str, MaskProbe] = {}
    for phase, split in splits.items():
        try:
            if split.kind == "masks":
                probes[phase] = probe_masks(split)
        except CannotMeasureError as error:
            reasons[phase] = str(error)
    signals = []
    for phase, probe in probes.items():
        split = splits[phase]
        signal = mask_signal(split, probe, next((other for name, other in probes.items() if name != phase), None))
        if signal.repair is not None and split.random:
            with randomness_kept():
                lines = lines_that_draw(split.samples, frames)
            signal = replace(signal, repair=replace(signal.repair, where=frames.location(lines[-1]) if lines else None))
        signals.append(signal)
    return tuple(signals)


def _with_noise(found: Labels, train: Probed) -> Labels:
    noise = find_noise(train)
    return replace(
        found,
        suspects=noise.suspects,
        suspect_share=noise.count / len(train.targets),
        ambiguous=noise.ambiguous,
        twins=noise.twins,
        twins_apart=noise.twins_apart,
        looked_at=len(train.targets),
        pictures=_pictures(train.split, noise.suspects),
    )


def _pictures(split: Split, suspects: Sequence[Suspect]) -> ImageGrid | None:
    path = next((p for p, kind in split.kinds.items() if kind == "image"), None)
    if path is None or not suspects:
        return None
    names = class_names(split.samples.dataset)
    positions = {int(index): position for position, index in enumerate(split.indices)}
    chosen = suspects[:16]
    pictures: tuple[Picture, ...] = ()
    with suppress(RuntimeError):
        images = torch.cat([split.inputs[path][positions[s.index]] for s in chosen])
        captions = [
            f"{s.index}: {names.get(int(s.label), f'{s.label:g}')}, looks like {names.get(int(s.predicted), f'{s.predicted:g}')}"
            for s in chosen
        ]
        pictures, _ = draw(images, captions)
    return ImageGrid(title="Samples whose label the others contradict", pictures=pictures, note="index: given label") if pictures else None


def _with_sets(facts: Labels, splits: dict[str, Split]) -> Labels:
    """Add the labels that occur in each part, from the dataset's own array where it has one."""
    found: dict[str, tuple[float, ...]] = {}
    complete: dict[str, bool] = {}
    for phase, split in splits.items():
        if split.kind != "classes":
            return facts
        labels, complete[phase] = split.labels, len(split.indices) == split.total
        for vector in label_vectors(split.samples.dataset):
            if np.array_equal(vector[split.indices].astype(np.float64), split.labels):
                pool = split.samples.pool
                labels, complete[phase] = (vector if isinstance(pool, range) else vector[np.asarray(pool)]).astype(np.float64), True
                break
        found[phase] = tuple(float(v) for v in np.unique(labels))
    if len(found) < 2:
        return facts
    unseen = tuple(sorted(set(found["val"]) - set(found["train"]))) if complete["train"] else ()
    return replace(facts, unseen=unseen, train_labels=found["train"][:1000], val_labels=found["val"][:1000])
