"""Pictures are valid PNG files that show what the tensor holds."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import torch

from trainlint.details import Picture
from trainlint.probes.data.pictures import MASK_COLOURS, draw, encode_png


def decode(png: bytes) -> np.ndarray:
    """Pixels of a PNG as encode_png writes it."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    position, chunks = 8, {}
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        kind, data = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        assert struct.unpack(">I", png[position + 8 + length : position + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        position += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (lines[:, 0] == 2).all()
    pixels = np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8)
    return pixels.reshape((height, width, 3) if colour == 2 else (height, width))


def pixels(picture: Picture) -> np.ndarray:
    return decode(base64.b64decode(picture.png))


def test_png_keeps_every_pixel():
    for shape in ((5, 7), (4, 3, 3)):
        made = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(decode(encode_png(made)), made)


def test_values_from_0_to_1_are_drawn_as_they_are_and_enlarged_by_whole_factors():
    image = torch.tensor([[0.0, 1.0], [0.5, 0.2]])[None, None]
    (picture,), how = draw(image, ["3: cat"])
    drawn = pixels(picture)
    assert drawn.shape == (64, 64)
    assert [drawn[0, 0], drawn[0, 63], drawn[63, 0], drawn[63, 63]] == [0, 255, 128, 51]
    assert picture.caption == "3: cat"
    assert not picture.flagged
    assert "from 0 to 1" in how


def test_raw_pixels_are_drawn_as_they_are():
    (picture,), how = draw(torch.tensor([[0, 255], [128, 51]], dtype=torch.uint8)[None, None], [""])
    assert pixels(picture)[0, 63] == 255
    assert "255" in how


def test_normalised_values_are_stretched_channel_by_channel():
    image = torch.stack([torch.linspace(-2, 2, 64).view(8, 8), torch.linspace(-1, 0, 64).view(8, 8), torch.zeros(8, 8)])[None]
    (picture,), how = draw(image, ["a"])
    drawn = pixels(picture)
    assert drawn[0, 0].tolist() == [0, 0, 0]
    assert drawn[-1, -1].tolist() == [255, 255, 0]
    assert "stretched" in how


def test_large_pictures_are_reduced():
    (picture,), _ = draw(torch.rand(1, 3, 300, 150), [""])
    assert pixels(picture).shape == (96, 48, 3)


def test_blank_and_broken_pictures_are_flagged():
    images = torch.rand(3, 1, 8, 8)
    images[1] = 0.5
    images[2, 0, 0, 0] = torch.nan
    pictures, _ = draw(images, ["0", "1", "2"])
    assert [p.flagged for p in pictures] == [False, True, True]
    assert [p.caption for p in pictures] == ["0", "1 · blank", "2 · not finite"]


def test_a_known_normalisation_is_undone():
    image = torch.rand(2, 3, 70, 70)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normal = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    (picture, _), how = draw(normal, ["a", "b"], (mean, std))
    assert abs(pixels(picture).astype(float) - (image[0].permute(1, 2, 0) * 255).numpy()).max() < 1
    assert how == "the transform's normalisation is undone"


def test_a_normalisation_that_was_not_applied_is_not_undone():
    _, how = draw(torch.rand(1, 3, 8, 8), ["a"], ((0.5,) * 3, (0.1,) * 3))
    assert how == "values from 0 to 1 are drawn from black to white"


def test_a_mask_is_laid_over_its_picture_in_a_colour_for_each_class():
    image, mask = torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 32, 32, dtype=torch.int64)
    image[:, 0, 0, 0] = 0.0
    mask[0, :16], mask[0, 16:, :16] = 1, 3
    (plain, covered), how = draw(image, ["a"], masks=mask)
    drawn = pixels(covered).astype(int)
    for row, column, (_, colour) in ((5, 40, MASK_COLOURS[0]), (60, 5, MASK_COLOURS[2])):
        assert abs(drawn[row, column] - (0.45 * 127.5 + 0.55 * torch.tensor(colour).numpy())).max() <= 1
    assert drawn[60, 60].max() < pixels(plain)[60, 60].min()
    assert covered.caption == "mask 1, 3"
    assert "class 1 in orange" in how
