"""Whether boxes and points follow when a dataset mirrors its pictures at random: one index is read several times."""

from __future__ import annotations

import linecache
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainlint.measurements import MirroredPictures
from trainlint.probes.data.coordinates import Size, readings_of, would_move
from trainlint.probes.data.datasets import Samples
from trainlint.probes.data.drawing import lines_that_draw
from trainlint.probes.data.generators import generators_kept
from trainlint.probes.data.leaves import is_picture
from trainlint.probes.data.split_samples import samples_of
from trainlint.record.frames import Frames, Place
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording

__all__ = ["mirrored_pictures"]

#: Pictures that are read, readings of each, and pictures whose coordinates must have stayed.
_PICTURES, _READINGS, _STAYED = 12, 4, 4
#: Seconds for reading, and for more of it once some have stayed.
_SECONDS, _LONGER = 0.5, 2.0
#: Side of the grid on which readings are compared; correlation with the mirrored one, and how much less with the other as it is.
_SIDE, _ALIKE, _LESS = 16, 0.95, 0.1
#: Ways to mirror a picture: the axes that are flipped.
_WAYS = {"mirrored": (-1,), "upside down": (-2,), "turned by 180°": (-2, -1)}
#: What a line that mirrors, or the one below it, is likely to say.
_WORDS = ("flip", "mirror", "::-1", "FLIP")

Leaves = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Picture:
    """What the readings of one picture told of coordinates at one path."""

    values: Tensor
    size: Size
    mirrored: bool
    """Read both ways."""
    stayed: tuple[str, ...]
    """Ways in which the picture was mirrored while nothing else changed."""


def mirrored_pictures(recording: Recording, deadline: float) -> MirroredPictures | None:
    """Coordinates of the training data that stay where they are when their picture is mirrored; None where all follow, or none are known."""
    entry = next(iter(recording.loaders_of("train")), None)
    batch = next((b for b in recording.batches if b.iteration is not None and b.iteration.loader is entry), None)
    if entry is None or batch is None or not _may_tell(batch.leaves):
        return None
    samples = samples_of(entry)
    if samples.iterable or not samples.single:
        return None
    end = min(deadline, time.monotonic() + _SECONDS)
    with randomness_kept(), generators_kept(entry.loader.dataset, entry.loader.collate_fn), torch.no_grad():
        for path, pictures in _read(samples, end).items():
            readings = readings_of(path, [(one.values, one.size) for one in pictures])
            ways = [
                way for one in pictures for way in one.stayed[:1] if readings and would_move(one.values, one.size, _WAYS[way], readings)
            ]
            mirrored = sum(one.mirrored for one in pictures)
            if len(ways) >= _STAYED and 2 * len(ways) >= mirrored:
                where = _drawn_at(samples, recording.frames) or recording.dataset_place(entry)
                return MirroredPictures(
                    kind="points" if "points" in readings else "boxes",
                    way=max(_WAYS, key=ways.count),
                    mirrored=mirrored,
                    stayed=len(ways),
                    where=recording.frames.location(where),
                )
    return None


def _may_tell(leaves: Leaves) -> bool:
    return any(_is_image(t) for t in leaves.values()) and any(_may_be_coordinates(t) for t in leaves.values())


def _is_image(tensor: Tensor) -> bool:
    return is_picture(tensor.shape) or (tensor.dim() == 3 and is_picture((1, *tensor.shape)))


def _may_be_coordinates(tensor: Tensor) -> bool:
    columns = tensor.shape[-1] if tensor.dim() else 0
    return not _is_image(tensor) and tensor.dim() <= 3 and (columns == 4 or (columns == 2 and tensor.dim() > 1)) and not tensor.is_complex()


def _read(samples: Samples, end: float) -> dict[str, list[_Picture]]:
    """What readings of some pictures tell, by the path of coordinates in a batch of one."""
    found: dict[str, list[_Picture]] = {}
    pool = samples.pool
    with suppress(Exception):
        for number, index in enumerate(pool[:: max(1, len(pool) // _PICTURES)][:_PICTURES]):
            suspected = any(one.stayed for pictures in found.values() for one in pictures)
            if number and time.monotonic() > end + (_LONGER if suspected else 0.0):
                break
            first, *others = [samples[index] for _ in range(_READINGS)]
            image = next((path for path, t in first.items() if _is_image(t)), None)
            if image is None:
                return {}
            ways = [(way, other) for other in others if (way := _mirrored(first[image], other.get(image))) is not None]
            stayed = tuple(way for way, other in ways if _only_pictures_differ(first, other))
            size = (first[image].shape[-2], first[image].shape[-1])
            for path, values in ((p, t) for p, t in first.items() if _may_be_coordinates(t)):
                found.setdefault(path, []).append(_Picture(values.detach().cpu().double(), size, bool(ways), stayed))
    return found


def _mirrored(picture: Tensor, other: Tensor | None) -> str | None:
    """The way in which one reading is the other mirrored."""
    if other is None or picture.shape != other.shape:
        return None
    a, b = (_small(t) for t in (picture, other))
    plain = _correlation(a, b)
    for way, axes in _WAYS.items():
        turned = _correlation(a, b.flip(axes))
        if turned >= _ALIKE and plain <= turned - _LESS:
            return way
    return None


def _small(picture: Tensor) -> Tensor:
    whole = picture.detach().cpu().double().nan_to_num().reshape(-1, *picture.shape[-2:]).mean(0, keepdim=True)
    return F.adaptive_avg_pool2d(whole, _SIDE)[0]


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt().clamp_min(1e-12))


def _only_pictures_differ(first: Leaves, other: Leaves) -> bool:
    """Whether all but pictures and masks is the same in two readings: a flag that tells of the mirroring lets a loop make up for it."""
    sides = {t.shape[-2:] for t in first.values() if _is_image(t)}
    rest = [p for p, t in first.items() if t.dim() < 2 or t.shape[-2:] not in sides]
    return all(p in other and torch.equal(first[p], other[p]) for p in rest)


def _drawn_at(samples: Samples, frames: Frames) -> Place | None:
    """The line that draws whether to mirror: one that says so, or the last that draws."""
    lines = lines_that_draw(samples, frames)

    def says(place: Place) -> bool:
        return any(word in linecache.getline(place[0], place[1] + below) for word in _WORDS for below in (0, 1))

    return next((place for place in lines if says(place)), lines[-1] if lines else None)
