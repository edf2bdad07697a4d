"""Small pictures of samples: tensors to PNG, written with zlib alone."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from trainlint.details import Picture

__all__ = ["MASK_COLOURS", "MOST_PICTURES", "Normalisation", "draw", "encode_png"]

#: Pictures of one batch that are drawn.
MOST_PICTURES = 16
#: Pixels: pictures are enlarged to at least the first (by whole factors) and reduced to at most the second.
_SMALL, _LARGE = 64, 96

#: Classes of a mask and their colours, from class 1 on, then again from the first.
MASK_COLOURS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("orange", (240, 130, 20)), ("blue", (50, 130, 250)), ("green", (40, 190, 90)), ("pink", (240, 70, 160)), ("violet", (150, 90, 240)),
    ("yellow", (250, 215, 40)), ("teal", (20, 190, 190)), ("red", (225, 55, 45)),
)  # fmt: skip
#: How far undone values may lie outside [0, 1]: what resizing with overshoot adds.
_ROUNDING = 0.1

Pixels = npt.NDArray[np.uint8]
#: Mean and standard deviation, one number for each channel or one for all.
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def encode_png(pixels: Pixels) -> bytes:
    """An 8-bit PNG of ``(height, width)`` grey or ``(height, width, 3)`` colour pixels."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    # Filter 2 stores differences to the row above, which makes enlarged pictures nearly free.
    lines = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def draw(
    images: Tensor, captions: Sequence[str], normalised: Normalisation | None = None, masks: Tensor | None = None
) -> tuple[tuple[Picture, ...], str]:
    """Pictures of ``(B, C, H, W)`` images with their captions, and how values became pixels, in words.

    Values in [0, 1] or [0, 255] are shown as they are, and those that a known ``normalised`` (mean, standard deviation) made have it
    undone; others are stretched, each channel from its smallest to its largest value over the pictures drawn. One channel is grey, of
    four the first three are shown. Samples that are not finite or hold one value only are flagged. With ``masks``, ``(B, H, W)`` class
    maps, each picture is followed by itself with its mask laid over it, in a colour for each class but 0.
    """
    shown = images[: min(len(captions), MOST_PICTURES)].detach().cpu().float()
    finite = torch.isfinite(shown)
    colours = torch.where(finite, shown, torch.zeros_like(shown))[:, : 1 if shown.shape[1] < 3 else 3]
    pixels, how = _visible(colours, normalised)
    covers = [None] * len(shown) if masks is None else list(masks[: len(shown)].detach().cpu())
    pictures = []
    for sample, known, picture, caption, cover in zip(shown, finite, pixels, captions, covers, strict=False):
        broken = not bool(known.all())
        blank = not broken and bool((sample == sample.reshape(-1)[0]).all())
        notes = [caption, *(["not finite"] if broken else []), *(["blank"] if blank else [])]
        pictures.append(Picture(png=_encode(picture), caption=" · ".join(n for n in notes if n), flagged=broken or blank))
        if cover is not None:
            pictures.append(_covered(picture, cover))
    if masks is not None:
        how = f"{how}; masks are laid over, class 1 in {MASK_COLOURS[0][0]}, 2 in {MASK_COLOURS[1][0]}, 3 in {MASK_COLOURS[2][0]} and so on"
    return tuple(pictures), how


def _covered(picture: Tensor, mask: Tensor) -> Picture:
    """The picture, half hidden by its mask."""
    classes = mask.float().nan_to_num(-1.0).round().long()
    fitted = F.interpolate(classes[None, None].float(), size=picture.shape[1:], mode="nearest")[0, 0].long()
    paints = torch.tensor([colour for _, colour in MASK_COLOURS], dtype=torch.float32)
    paint = paints[(fitted - 1).clamp(min=0) % len(paints)].permute(2, 0, 1)
    seen = picture.expand(3, -1, -1)
    found = [int(c) for c in classes.unique() if c > 0]
    named = ", ".join(map(str, found[:4])) + (" …" if len(found) > 4 else "")
    return Picture(png=_encode(torch.where(fitted > 0, 0.45 * seen + 0.55 * paint, 0.7 * seen)), caption=f"mask {named or 'empty'}")


def _visible(images: Tensor, normalised: Normalisation | None) -> tuple[Tensor, str]:
    """Values between 0 and 255, and how they were made."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return images * 255, "values from 0 to 1 are drawn from black to white"
    if normalised is not None and len(normalised[0]) in (1, images.shape[1]):
        mean, std = (torch.tensor(part, dtype=torch.float32).view(1, -1, 1, 1) for part in normalised)
        undone = images * std + mean
        if float(undone.min()) > -_ROUNDING and float(undone.max()) < 1 + _ROUNDING:
            return undone * 255, "the transform's normalisation is undone"
    if low >= 0 and 64 < high <= 255:
        return images, "values from 0 to 255 are drawn from black to white"
    bottom, top = images.amin(dim=(0, 2, 3), keepdim=True), images.amax(dim=(0, 2, 3), keepdim=True)
    stretched = (images - bottom) / (top - bottom).clamp(min=1e-12) * 255
    return stretched, f"values from {low:.3g} to {high:.3g} are stretched to be visible, each channel by itself"


def _encode(picture: Tensor) -> str:
    """Base64 of the PNG of a ``(C, H, W)`` tensor with values between 0 and 255."""
    side = max(picture.shape[1:])
    if side > _LARGE:
        size = [max(1, round(length * _LARGE / side)) for length in picture.shape[1:]]
        picture = F.interpolate(picture[None], size=size, mode="area")[0]
    elif side < _SMALL:
        factor = -(-_SMALL // side)
        picture = picture.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    pixels = np.rint(picture.permute(1, 2, 0).numpy()).clip(0, 255).astype(np.uint8)
    return base64.b64encode(encode_png(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)).decode("ascii")
