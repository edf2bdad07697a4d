"""Classes that a loss leaves out because they have the index of padding, and targets that say nothing on purpose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import measured, train
from trainlint.probes.step.padding import measure_padding

WORDS, TAGS, LENGTH, MARK, HIDDEN = 60, 6, 14, 1, 2


def sentences(count=32) -> tuple[Tensor, Tensor, Tensor]:
    """``(ids, tags, real)``: tags of 1 to 5, mostly 1; padding is 0 in both."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, WORDS, (count, LENGTH), generator=draw)
    tags = (ids % 16 - 10).clamp(1, TAGS - 1)
    real = torch.arange(LENGTH) < torch.randint(6, LENGTH + 1, (count, 1), generator=draw)
    return ids * real, tags * real, real


def measure(model, loss, *tensors):
    return measured(measure_padding, train(model, DataLoader(TensorDataset(*tensors), len(tensors[0])), loss)).left_out


def of_tags(ids, tags, classes=TAGS, ignored=0):
    model = nn.Sequential(nn.Embedding(WORDS + 1, 8), nn.Linear(8, classes))

    def loss(net, batch):
        return F.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten(), ignore_index=ignored)  # the loss

    return measure(model, loss, ids, tags)


def test_a_tag_with_the_index_of_padding_is_left_out():
    ids, tags, real = sentences()
    found = of_tags(ids, (tags - 1) * real)
    assert (found.index, found.classes, found.padding, found.pictures) == (0, TAGS, True, False)
    assert found.share == pytest.approx(float(((tags == 1) & real).sum() / real.sum()))
    assert found.where.text.endswith("# the loss")


def test_padding_with_an_index_of_its_own_leaves_no_tag_out():
    ids, tags, real = sentences()
    found = of_tags(ids, tags)
    assert found is None or found.share == 0
    assert of_tags(ids, torch.where(real, tags - 1, -100), ignored=-100) is None


@pytest.mark.parametrize("mark", [False, True])
def test_further_pieces_of_words_have_no_tag(mark):
    ids, tags, real = sentences()
    further = (torch.arange(LENGTH) % 3 > 0) & real  # one tag for three pieces
    tags = tags.masked_fill(further, 0)
    if mark:
        ids, tags = F.pad(ids, (1, 0), value=MARK), F.pad(tags, (1, 0), value=0)
    assert of_tags(ids, tags) is None


def test_tokens_that_are_not_hidden_are_not_asked_for():
    ids, _, real = sentences()
    hidden = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.3) & real
    assert of_tags(ids.masked_fill(hidden, HIDDEN), ids % TAGS * hidden) is None
    assert of_tags(ids.masked_fill(hidden, WORDS), ids * hidden, classes=WORDS + 1) is None


def test_targets_that_end_before_their_input_are_left_alone():
    ids, tags, real = sentences()
    short = torch.arange(LENGTH) < real.sum(1, keepdim=True) // 2
    assert of_tags(ids, tags * short) is None


# -- pixels ------------------------------------------------------------------------------------------------------------


def pictures(count=12, size=20) -> tuple[Tensor, Tensor, Tensor]:
    """``(pictures, masks, real)``: classes 0 to 3, mostly 0, and where pictures of other sizes are not filled up."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, size, size, generator=draw)
    masks = (torch.randint(0, 12, images[:, 0].shape, generator=draw) - 8).clamp(0)
    height, width = torch.randint(size // 2, size + 1, (2, count, 1), generator=draw)
    real = (torch.arange(size) < height)[:, :, None] & (torch.arange(size) < width)[:, None]
    return images, masks, real


def of_pixels(images, masks, ignored=0):
    return measure(
        nn.Conv2d(1, 4, 3, padding=1), lambda net, batch: F.cross_entropy(net(batch[0]), batch[1], ignore_index=ignored), images, masks
    )


def test_a_background_with_the_index_of_padding_is_left_out():
    images, masks, real = pictures()
    found = of_pixels(images * real[:, None], masks * real)
    assert (found.index, found.classes, found.padding, found.pictures) == (0, 4, True, True)
    assert (found.positions, found.share) == (int(real.sum()), pytest.approx(float((masks[real] == 0).float().mean())))


def test_without_padded_pictures_nothing_says_what_is_ignored_for():
    images, masks, _ = pictures()
    assert not of_pixels(images, masks).padding


def test_a_void_that_is_no_class_leaves_no_class_out():
    images, masks, real = pictures()
    assert of_pixels(images * real[:, None], masks.masked_fill(~real, 255), ignored=255) is None


def test_dark_pictures_are_not_filled_up():
    images, masks, real = pictures()
    dark = images * real[:, None] * (masks > 0)[:, None]  # most of what is within is as dark as the border
    assert not of_pixels(dark, masks * real).padding
