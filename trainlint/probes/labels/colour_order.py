"""Whether validation pictures look like training's only with their colour channels in another order, as of BGR against RGB."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np
import torch

from trainlint.measurements import ColourOrder
from trainlint.probes.data.datasets import Samples, wrapped
from trainlint.probes.data.drawing import lines_that_change
from trainlint.probes.data.features import features_of
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.made import made_at
from trainlint.probes.data.ridge import Fit, Ridge, Rows, correlations
from trainlint.probes.data.split_samples import Split, read_split
from trainlint.probes.errors import CannotMeasureError
from trainlint.probes.labels.class_checks import balanced_accuracy, match_classes
from trainlint.probes.labels.pairing import Probed
from trainlint.record.frames import Place
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording
from trainlint.settings import Settings

__all__ = ["measure_colour_order"]

#: A probe of training that is this sure is worth asking, and one that reaches this share of its own score in validation finds nothing wrong there.
_SURE, _FINE = 6.0, 0.75
#: Orders of three channels other than their own, the reverse one first.
_ORDERS = sorted(set(itertools.permutations(range(3))) - {(0, 1, 2)}, reverse=True)


@dataclass(frozen=True)
class _Answers:
    """What a probe of training makes of the validation samples in one order of their channels."""

    score: float
    """Balanced accuracy for classes, else the mean correlation over the columns."""
    agreement: Rows
    """``(n,)``: how far the prediction for each sample points to its own label."""


def measure_colour_order(recording: Recording, deadline: float, settings: Settings) -> ColourOrder:
    """Ask a probe of training for validation labels, with the channels as they come and in each other order; empty where that tells nothing."""
    if time.monotonic() > deadline:
        return ColourOrder()
    try:
        train, val = (read_split(recording, phase, deadline) for phase in ("train", "val"))
        return _compare(recording, train, val)
    except (CannotMeasureError, ValueError, np.linalg.LinAlgError):
        return ColourOrder()


def _compare(recording: Recording, train: Split, val: Split) -> ColourOrder:
    paths = [p for p, kind in val.kinds.items() if kind == "image" and all(t.shape[1] == 3 for t in val.inputs[p])]
    alike = train.kind == val.kind != "masks" and train.features.shape[1:] == val.features.shape[1:]
    if not paths or not alike or train.labels.shape[1:] != val.labels.shape[1:]:
        return ColourOrder()
    ridge, targets = Ridge(train.features), train.columns()
    one = Probed(train, ridge, targets, ridge.fit(targets, np.random.default_rng(0)))
    expected = _own_score(train, one.fit)
    given = _answers(one, val)
    if one.fit.z < _SURE or given.score >= _FINE * expected:
        return ColourOrder(samples=len(val.labels), kind=val.kind, expected=expected, as_given=given.score)
    match = match_classes(one, val) if val.kind == "classes" else None
    best, order = max(((_answers(one, _reordered(val, paths, order)), order) for order in _ORDERS), key=lambda found: found[0].score)
    gains = best.agreement - given.agreement
    return ColourOrder(
        samples=len(val.labels),
        kind=val.kind,
        expected=expected,
        as_given=given.score,
        order=order,
        reordered=best.score,
        renamed=match.as_matched if match is not None else None,
        z=float(gains.mean() / max(gains.std(ddof=1), 1e-9) * len(gains) ** 0.5),
        where=recording.frames.location(_read_at(recording, train, val, paths[0])),
    )


def _own_score(train: Split, fit: Fit) -> float:
    if train.kind != "classes":
        return fit.score
    known = np.isin(train.labels, train.classes)
    return balanced_accuracy(fit.held_out[known].argmax(1), np.searchsorted(train.classes, train.labels[known]))


def _answers(one: Probed, val: Split) -> _Answers:
    """Labels that training does not know are left out."""
    predicted = one.ridge.predict(val.features, one.targets, one.fit.strength)
    if val.kind != "classes":
        wanted = val.columns()
        return _Answers(float(correlations(predicted, wanted).mean()), ((predicted - predicted.mean(0)) * wanted).mean(1))
    known = np.isin(val.labels, one.split.classes)
    if known.sum() < 2:
        raise ValueError("validation has other classes than training")
    rows, given = predicted[known], np.searchsorted(one.split.classes, val.labels[known])
    return _Answers(balanced_accuracy(rows.argmax(1), given), (rows.argmax(1) == given).astype(np.float64))


def _reordered(val: Split, paths: list[str], order: tuple[int, ...]) -> Split:
    inputs = {p: [t[:, list(order)] for t in tensors] if p in paths else tensors for p, tensors in val.inputs.items()}
    return replace(val, features=np.concatenate([features_of(tensors, val.kinds[p]) for p, tensors in inputs.items()], axis=1))


def _read_at(recording: Recording, train: Split, val: Split, path: str) -> Place | None:
    """The line where a validation picture comes into the dataset's own code, if training's comes in at another; else the one that made or built it."""
    at = {s.phase: _first_picture(recording, s.samples, int(s.indices[0])) for s in (train, val)}
    if at["val"] is not None and at["val"] != at["train"]:
        return at["val"]
    made = made_at(recording, val.entry).get(path) if at["val"] is None else None
    return made or recording.dataset_place(val.entry)


def _first_picture(recording: Recording, samples: Samples, index: int) -> Place | None:
    """The line of the dataset's ``__getitem__`` after which a local variable is a picture."""
    codes = [getattr(getattr(type(one), "__getitem__", None), "__code__", None) for one in wrapped(samples.dataset)]
    code = next((c for c in codes if c is not None and recording.frames.is_user(c.co_filename)), None)
    if code is None:
        return None

    def has_picture() -> bool:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        return frame is not None and any(_is_picture(value) for value in frame.f_locals.values())

    with randomness_kept(), generators_kept(samples.dataset, samples.loader.collate_fn), torch.no_grad():
        changes = lines_that_change(lambda: samples.raw(index), recording.frames, has_picture)
    return next((place for place, seen in changes if seen and place[0] == code.co_filename and place[2] == code.co_name), None)


def _is_picture(value: Any) -> bool:
    """Whether this is one colour picture: an array or tensor with an axis of three channels, or one of PIL's."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return len(shape) == 3 and 3 in (shape[0], shape[-1])
    return len(value.getbands()) == 3 if hasattr(value, "getbands") else False
