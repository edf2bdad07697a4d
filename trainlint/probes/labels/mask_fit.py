"""Whether masks belong to their pictures: a probe from a pixel's surroundings to its label, against masks of other pictures and turned masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from trainlint.measurements import Repair, Signal
from trainlint.probes.data.split_samples import Split
from trainlint.probes.errors import CannotMeasureError

__all__ = ["MaskProbe", "mask_signal", "probe_masks", "turned_upright"]

Maps = npt.NDArray[np.float64]

#: Side of the grid on which masks and pictures are compared; classes that get a map each; permutations; folds.
_SIDE, _MOST_CLASSES, _PERMUTATIONS, _FOLDS = 16, 6, 99, 4
#: A mask that fits better when turned: by this much correlation, at least this well, and nearly as well as masks that fit do.
_BETTER, _WELL, _OF_USUAL = 0.2, 0.4, 0.75

_UPRIGHT = "as it is"
#: Turns that a picture that is no square can make too.
_ANY_SHAPE = ("mirrored", "upside down", "turned by 180°")
#: The ways to turn a picture ``(…, side, side)``, by name; all but the first are mistakes.
_TURNS: dict[str, Callable[[Maps], Maps]] = {
    _UPRIGHT: lambda m: m,
    "mirrored": lambda m: m[..., ::-1],
    "upside down": lambda m: m[..., ::-1, :],
    "turned by 180°": lambda m: m[..., ::-1, ::-1],
    "transposed": lambda m: np.swapaxes(m, -1, -2),
    "turned by 90°": lambda m: np.rot90(m, 1, (-2, -1)),
    "turned by 270°": lambda m: np.rot90(m, 3, (-2, -1)),
    "transposed the other way": lambda m: np.rot90(np.swapaxes(m, -1, -2), 2, (-2, -1)),
}


@dataclass(eq=False)
class MaskProbe:
    """Masks of one part on a small grid, and what the probe predicts for them, both without the mean over samples."""

    pixels: Maps
    """``(n, side, side, features)``."""
    maps: Maps
    """``(n, classes, side, side)``."""
    predicted: Maps
    scores: Maps
    """``(n,)`` correlation of each mask with the prediction for its picture."""
    chance: float
    z: float
    square: bool

    @property
    def score(self) -> float:
        """The mean over samples."""
        return float(self.scores.mean())


def probe_masks(split: Split) -> MaskProbe:
    """Predict each mask from its picture by a probe fitted on other samples."""
    path = next((p for p, kind in split.kinds.items() if kind == "image"), None)
    if path is None:
        raise CannotMeasureError("masks can be compared with pictures only")
    pictures = split.inputs[path]
    try:
        pixels = np.stack([_surroundings(p) for p in pictures])
        maps = _maps(split.masks)
    except RuntimeError as error:
        raise CannotMeasureError("masks and pictures have no common grid") from error
    folds = np.arange(len(pixels)) % _FOLDS
    raw = np.zeros_like(maps)
    for fold in range(_FOLDS):
        raw[folds == fold] = _predict(pixels[folds != fold], maps[folds != fold], pixels[folds == fold])
    centred, predicted = maps - maps.mean(0), raw - raw.mean(0)
    scores = _agreement(predicted, centred)
    generator = np.random.default_rng(0)
    other = [float(_agreement(predicted, centred[generator.permutation(len(maps))]).mean()) for _ in range(_PERMUTATIONS)]
    z = (float(scores.mean()) - float(np.mean(other))) / max(float(np.std(other, ddof=1)), 1e-9)
    shapes = {tuple(p.shape[-2:]) for p in pictures}
    return MaskProbe(pixels, centred, predicted, scores, float(np.mean(other)), z, all(h == w for h, w in shapes))


def mask_signal(split: Split, probe: MaskProbe, guide: MaskProbe | None) -> Signal:
    """The signal of a part; ``guide`` is the other part's probe, which knows better what a mask looks like when this one is in doubt."""
    repair = _turned(probe, guide)
    return Signal(
        phase=split.phase,
        kind="masks",
        samples=len(probe.maps),
        total=split.total,
        score=probe.score,
        chance=probe.chance,
        z=probe.z,
        p=0.5 * math.erfc(probe.z / math.sqrt(2)),
        random=split.random,
        repair=replace(repair, stackable=_are_stackable(split)) if repair is not None else None,
    )


def _are_stackable(split: Split) -> bool:
    """Whether each mask can be put behind the channels of its picture; each is read as a batch of one."""
    pictures = next(split.inputs[p] for p, kind in split.kinds.items() if kind == "image")
    return all(
        p.dim() == m.dim() == 4 and p.dtype == m.dtype and p.is_floating_point() and p.shape[2:] == m.shape[2:]
        for p, m in zip(pictures, split.masks, strict=True)
    )


def turned_upright(split: Split, other: Split | None) -> list[Tensor]:
    """The masks of a part, those that fit their picture clearly better when turned turned so; ``other`` is the other part, if it has masks."""
    fit = _fitted(probe_masks(split), probe_masks(other) if other is not None and other.kind == "masks" else None)
    way = fit.scores.argmax(0)
    turns = list(fit.ways.values())
    return [
        torch.from_numpy(np.ascontiguousarray(turns[way[i]](mask.detach().cpu().numpy()))).to(mask.dtype) if fit.better[i] else mask
        for i, mask in enumerate(split.masks)
    ]


@dataclass(eq=False)
class _Fitted:
    """How well masks fit their pictures turned in each way."""

    ways: dict[str, Callable[[Maps], Maps]]
    scores: Maps
    """``(ways, n)``."""
    upright: Maps
    well: float
    """What counts as a good fit."""
    predicted: Maps

    @property
    def better(self) -> npt.NDArray[np.bool_]:
        """Masks that fit well, and clearly better than upright, in one of the ways."""
        return self.are_better(self.scores.max(0))

    def are_better(self, scores: Maps) -> npt.NDArray[np.bool_]:
        """The same for other best scores."""
        found: npt.NDArray[np.bool_] = (scores > self.upright + _BETTER) & (scores > self.well)
        return found


def _fitted(probe: MaskProbe, guide: MaskProbe | None) -> _Fitted:
    predicted = probe.predicted
    if (
        guide is not None
        and guide.z > probe.z
        and guide.maps.shape[1] == probe.maps.shape[1]
        and guide.pixels.shape[3] == probe.pixels.shape[3]
    ):
        predicted = _predict(guide.pixels, guide.maps, probe.pixels)
        predicted = predicted - predicted.mean(0)
    upright = _agreement(predicted, probe.maps)
    ways = {name: turn for name, turn in _TURNS.items() if name != _UPRIGHT and (probe.square or name in _ANY_SHAPE)}
    scores = np.stack([_agreement(predicted, turn(probe.maps)) for turn in ways.values()])
    well = max(_WELL, _OF_USUAL * float(np.quantile(np.maximum(scores.max(0), upright), 0.8)))
    return _Fitted(ways, scores, upright, well, predicted)


def _turned(probe: MaskProbe, guide: MaskProbe | None) -> Repair | None:
    """How many masks fit their picture clearly better when turned, and how well."""
    fit = _fitted(probe, guide)
    best, better = fit.scores.max(0), fit.better
    if not better.any():
        return None
    others = np.roll(probe.maps, 1, axis=0)  # masks of other pictures fit by chance, the best of all ways to turn them too
    chance = np.stack([_agreement(fit.predicted, turn(others)) for turn in fit.ways.values()]).max(0)
    share, usual = float(better.mean()), float(fit.are_better(chance).mean())
    wide = math.sqrt(max(usual * (1 - usual), 1 / len(best)) / len(best))
    names = np.array(list(fit.ways))[fit.scores.argmax(0)[better]]
    common = max(set(names.tolist()), key=names.tolist().count)
    name = f"masks {common}" if (names == common).mean() > 0.8 else "masks mirrored or turned, each in its own way"
    return Repair(name=name, score=float(best[better].mean()), z=(share - usual) / wide, share=share)


def _surroundings(picture: Tensor) -> Maps:
    """``(side, side, features)``: colours of a cell of the grid, their spread in it, and those of its neighbours."""
    image = picture.detach().cpu().to(torch.float32).nan_to_num(0.0)
    mean = F.adaptive_avg_pool2d(image, _SIDE)
    spread = (F.adaptive_avg_pool2d(image**2, _SIDE) - mean**2).clamp(min=0).sqrt()
    near = F.avg_pool2d(F.pad(mean, (1, 1, 1, 1), mode="replicate"), 3, 1)
    overall = image.mean((2, 3), keepdim=True).expand_as(mean)
    found: Maps = torch.cat([mean, spread, near, overall, mean**2, mean * near], dim=1)[0].permute(1, 2, 0).double().numpy()
    return found


def _maps(masks: list[Tensor]) -> Maps:
    """``(n, classes, side, side)``: the share of each class in a cell."""
    whole = [m.detach().cpu().to(torch.float32).nan_to_num(0.0).reshape(1, -1, *m.shape[-2:]) for m in masks]
    if len({m.shape[1] for m in whole}) > 1:
        raise CannotMeasureError("the masks of two samples have different shapes")
    values, counts = torch.unique(torch.cat([m.flatten()[:: max(1, m.numel() // 4096)] for m in whole]), return_counts=True)
    if whole[0].shape[1] == 1 and not bool((values == values.round()).all()):
        return np.stack([F.adaptive_avg_pool2d(m, _SIDE)[0].double().numpy() for m in whole])
    if whole[0].shape[1] > 1:
        return np.stack([F.adaptive_avg_pool2d(m[:, :_MOST_CLASSES], _SIDE)[0].double().numpy() for m in whole])
    if len(values) < 2:
        raise CannotMeasureError("all masks are the same")
    chosen = values[counts.argsort(descending=True)[:_MOST_CLASSES]]
    chosen = chosen[1:] if len(chosen) == 2 else chosen
    return np.stack([np.concatenate([F.adaptive_avg_pool2d((m == v).float(), _SIDE)[0].double().numpy() for v in chosen]) for m in whole])


def _predict(pixels: Maps, maps: Maps, others: Maps) -> Maps:
    """Ridge regression from the features of a cell to its classes; maps for ``others``."""
    rows, targets = pixels.reshape(-1, pixels.shape[-1]), maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])
    mean, spread = rows.mean(0), rows.std(0).clip(min=1e-9)
    scaled = (rows - mean) / spread
    weights = np.linalg.solve(scaled.T @ scaled + len(scaled) * 1e-3 * np.eye(scaled.shape[1]), scaled.T @ (targets - targets.mean(0)))
    found = ((others.reshape(-1, others.shape[-1]) - mean) / spread) @ weights
    predicted: Maps = found.reshape(*others.shape[:3], -1).transpose(0, 3, 1, 2)
    return predicted


def _agreement(predicted: Maps, maps: Maps) -> Maps:
    """``(n,)`` correlations of whole maps."""
    a, b = predicted.reshape(len(predicted), -1), maps.reshape(len(maps), -1)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found: Maps = np.where(scale > 1e-12, (a * b).sum(1) / scale.clip(min=1e-12), 0.0)
    return found
