"""Whether augmentation lets pixels run over the end of 8 bits: what gets brighter comes out black.

Two readings of a picture differ by a shift; the brightest pixels, and only they, by that shift less the whole range.
"""

from __future__ import annotations

import ast

import torch
from torch import Tensor

from trainlint.probes.data.split_samples import Split, read_split, root_of
from trainlint.probes.errors import CannotMeasureError
from trainlint.record.frames import Place
from trainlint.record.planned import source_tree
from trainlint.record.random_state import randomness_kept
from trainlint.record.recording import Recording

__all__ = ["cast_at", "wrapped_pictures"]

#: Pictures that are read again, readings of each, and the fewest pairs of readings of which a share must have wrapped pixels.
_PICTURES, _READINGS, _SHARE = 12, 4, 0.05
#: Least shift, closeness to the shift and to the whole range, least share of wrapped pixels, and share that may be anything: of the range, of the pixels.
_SHIFT, _CLOSE, _FEW, _STRAY = 0.04, 0.2, 0.02, 0.03


def wrapped_pictures(recording: Recording, deadline: float) -> float:
    """Share of the pairs of readings in which pixels wrapped round; 0 where pictures are not augmented or cannot be read."""
    try:
        split = read_split(recording, "train", deadline)
    except CannotMeasureError:
        return 0.0
    path = next((p for p, kind in split.kinds.items() if kind == "image"), None)
    if path is None or not split.random:
        return 0.0
    low = min(float(t.min()) for t in split.inputs[path])
    whole = (max(float(t.max()) for t in split.inputs[path]) - low) * 256 / 255
    if whole <= 0:
        return 0.0
    pairs = found = 0
    with randomness_kept(), torch.no_grad():
        for readings in _readings(split, path):
            for i in range(len(readings)):
                for j in range(len(readings)):
                    if i != j and readings[i].shape == readings[j].shape:
                        pairs += 1
                        found += _wraps(readings[i], readings[j], whole)
    share = found / pairs if pairs else 0.0
    return share if share >= _SHARE else 0.0


def cast_at(recording: Recording, deadline: float) -> Place | None:
    """The last line of the training dataset's class that speaks of 8 bits, which is where pixels are cast."""
    try:
        split = read_split(recording, "train", deadline)
    except CannotMeasureError:
        return None
    kind = type(root_of(split.samples.dataset, split.indices[:1])[0])
    code = getattr(getattr(kind, "__getitem__", None), "__code__", None)
    if code is None or not recording.frames.is_user(code.co_filename):
        return None
    tree = source_tree(code.co_filename)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            casts = [n.lineno for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr in ("uint8", "ToPILImage")]
            casts += [n.lineno for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value == "uint8"]
            return (code.co_filename, max(casts), "") if casts else None
    return None


def _readings(split: Split, path: str) -> list[list[Tensor]]:
    chosen = [int(i) for i in split.indices[:: max(1, len(split.indices) // _PICTURES)]][:_PICTURES]
    try:
        return [[split.samples[i][path].double().flatten() for _ in range(_READINGS)] for i in chosen]
    except Exception:
        return []


def _wraps(before: Tensor, after: Tensor, whole: float) -> bool:
    """Whether the brightest pixels of one reading, and they alone, lie a whole range below the shift to the other."""
    change = after - before
    shift = float(change.median())
    if shift < _SHIFT * whole:
        return False
    plain = (change - shift).abs() < _CLOSE * whole
    round_ = (change - shift + whole).abs() < _CLOSE * whole
    if float((plain | round_).double().mean()) < 1 - _STRAY or float(round_.double().mean()) < _FEW:
        return False
    if float(before[plain].quantile(0.9) - before[plain].quantile(0.1)) < _SHIFT * whole:
        return False  # an even picture, of which a part was erased
    darkest, brightest = before[round_].quantile(0.05), before[plain].quantile(0.95)
    return bool(darkest > brightest - _SHIFT * whole)
