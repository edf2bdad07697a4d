"""Reshapes that read memory in another order of axes, told from ones that are meant so."""

from __future__ import annotations

from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from probes.mixed import B, K, loader
from probes.recorded import Net, classify, measured, train
from trainlint.probes.step.axes import reordering
from trainlint.probes.step.axis_order import measure_axis_order

T, C, H = 10, 24, 4
D = C // H


def found(forward, shape=(T, C), loss=classify, labels=(), **layers):
    net = Net(forward, **{"inner": nn.Linear(C, C), "head": nn.Linear(C, K), **layers})
    data = loader(torch.randn(B * 4, *shape), torch.randint(0, K, (B * 4, *labels)))
    return measured(measure_axis_order, train(net, data, loss)).slips


def attend(q: Tensor) -> Tensor:
    return torch.softmax(q @ q.transpose(-2, -1), -1) @ q


# -- slips -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "forward", "after"),
    [
        ("heads", lambda n, x: n.head(attend(n.inner(x).view(-1, H, T, D)).transpose(1, 2).flatten(2).mean(1)), (B, H, T, D)),
        ("heads in the batch", lambda n, x: n.head(attend(n.inner(x).view(-1, T, D)).view(-1, H, T, D).transpose(1, 2).flatten(2).mean(1)), (B * H, T, D)),
        ("heads joined", lambda n, x: n.head(attend(n.inner(x).view(-1, T, H, D).transpose(1, 2)).reshape(-1, T, C).mean(1)), (B, T, C)),
        ("unflattened", lambda n, x: n.head(attend(n.inner(x).reshape(-1, H, T, D).relu()).transpose(1, 2).flatten(2).mean(1)), (B, H, T, D)),
    ],
)  # fmt: skip
def test_heads(name, forward, after):
    (slip,) = found(forward)
    assert slip.after == after
    assert slip.where is not None


def test_the_fix_gives_what_a_transpose_gives():
    (slip,) = found(lambda n, x: n.head(attend(n.inner(x).view(-1, H, T, D)).transpose(1, 2).flatten(2).mean(1)))
    x = torch.randn(slip.before)
    assert torch.equal(x.view(slip.opened).permute(slip.order), x.view(B, T, H, D).transpose(1, 2))


def test_channels_first_read_as_channels_last():
    (slip,) = found(lambda n, x: n.head(n.inner(n.conv(x).view(-1, T, C)).mean(1)), (3, T), conv=nn.Conv1d(3, C, 3, padding=1))
    assert (slip.operation, slip.before, slip.reader) == ("view", (B, C, T), "linear")


def test_one_size_a_multiple_of_the_other_is_told_by_the_layers():
    twice = {"conv": nn.Conv1d(3, 20, 3, padding=1), "inner": nn.Linear(20, C)}
    assert found(lambda n, x: n.head(n.inner(n.conv(x).view(-1, T, 20)).mean(1)), (3, T), **twice)
    stacked = {"first": nn.Linear(C, T), "inner": nn.Linear(20, C)}
    assert not found(lambda n, x: n.head(n.inner(n.first(x).view(-1, T, 20)).mean(1)), (20, C), **stacked), "two frames made one"


def test_pictures_read_with_channels_first():
    def forward(n, x):
        return n.head(n.conv(x.reshape(-1, 3, 8, 8)).mean((2, 3)))

    (slip,) = found(forward, (8, 8, 3), conv=nn.Conv2d(3, C, 3))
    assert slip.order == (0, 3, 1, 2)
    assert "x.reshape(-1, 3, 8, 8)" in slip.where.text


def test_patches_read_as_a_map_and_logits_as_rows():
    def mapped(n, x):
        return n.head(n.conv(n.inner(x).view(-1, C, 3, 5)).mean((2, 3)))

    assert found(mapped, (15, C), conv=nn.Conv2d(C, C, 1))[0].after == (B, C, 3, 5)
    rows = found(
        lambda n, x: n.conv(x).reshape(-1, K), (3, T), lambda m, b: F.cross_entropy(m(b[0]), b[1].view(-1)), (T,), conv=nn.Conv1d(3, K, 1)
    )
    assert rows[0].reader == "cross_entropy"


W, G, A = 7, 5, 3
TARGETS = torch.randint(0, W, (B,))


def boxes(out: Tensor) -> Tensor:
    """A loss of what a grid's cells give: a score, a class and a place each."""
    best = out[..., 0].argmax(1)
    mine = out[torch.arange(len(out)), best]
    return F.cross_entropy(out[..., 0], best) + F.cross_entropy(mine[..., 1:4], TARGETS[: len(out)] % 3) + mine[..., 4:].square().mean()


HEADS = {
    "a cell": (W, lambda n, x: n.conv(x).view(-1, G * G, W)),
    "an activated cell": (W, lambda n, x: n.conv(x).relu().reshape(len(x), -1, W)),
    "many boxes": (A * W, lambda n, x: n.conv(x).view(-1, G * G * A, W)),
    "two heads": (W, lambda n, x: torch.cat([n.conv(x).view(-1, G * G, W), n.conv(x[..., 1:]).view(-1, G * (G - 1), W)], 1)),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_detectors_whose_channels_are_read_behind_the_places(name):
    channels, forward = HEADS[name]
    slips = found(forward, (3, G, G), lambda m, b: boxes(m(b[0])), conv=nn.Conv2d(3, channels, 1))
    assert slips
    assert slips[0].reader == "an index"
    assert slips[0].after[-1] == W


def test_the_fix_for_many_boxes_gives_each_its_own_channels():
    (slip,) = found(HEADS["many boxes"][1], (3, G, G), lambda m, b: boxes(m(b[0])), conv=nn.Conv2d(3, A * W, 1))
    x = torch.arange(prod(slip.before)).view(slip.before)
    made = x.reshape(slip.opened).permute(slip.order).reshape(slip.after)
    assert made[0, 0].tolist() == [c * G * G for c in range(W)]


@pytest.mark.parametrize("split", [lambda y: y.split([3, W - 3], -1)[0], lambda y: y.chunk(2, dim=2)[0], lambda y: y.unbind(-1)[0]])
def test_channels_that_are_split_behind_the_places(split):
    assert found(lambda n, x: split(n.conv(x).view(-1, G * G, W)), (3, G, G), lambda m, b: m(b[0]).square().mean(), conv=nn.Conv2d(3, W, 1))


@pytest.mark.parametrize(
    ("channels", "forward"),
    [
        (W, lambda n, x: n.conv(x).permute(0, 2, 3, 1).reshape(-1, G * G, W)),
        (W, lambda n, x: n.conv(x).flatten(2).transpose(1, 2)),
        (A * W, lambda n, x: n.conv(x).view(-1, A, W, G, G).permute(0, 1, 3, 4, 2).reshape(-1, A * G * G, W)),
        (A * W, lambda n, x: n.conv(x).view(-1, A, W, G * G).transpose(2, 3).flatten(1, 2)),
        (A * W, lambda n, x: n.conv(x).permute(0, 2, 3, 1).contiguous().view(len(x), -1, W)),
        (2 * G * G, lambda n, x: n.conv(x).mean((2, 3)).view(-1, 2, G * G)),
    ],
)
def test_sound_heads_of_detectors(channels, forward):
    assert not found(forward, (3, G, G), lambda m, b: boxes(m(b[0])), conv=nn.Conv2d(3, channels, 1))


@pytest.mark.parametrize(
    "forward",
    [
        lambda n, x: n.conv(x).view(-1, 2 * A * G, G)[..., :3],  # rows of all channels below each other
        lambda n, x: n.conv(x).view(-1, A * G * G // 5 * 2, 5).softmax(-1)[..., :3],  # latents of five states each
        lambda n, x: n.conv(x).view(-1, 2 * G * G, A).softmax(-1)[..., :2],
        lambda n, x: n.conv(x).view(-1, A, 2 * G, G)[..., :2],
        lambda n, x: n.inner(n.conv(x).flatten(1)).view(-1, 4, 6)[..., 0],
    ],
)
def test_maps_that_are_cut_up_otherwise(forward):
    layers = {"conv": nn.Conv2d(3, 2 * A, 1), "inner": nn.Linear(2 * A * G * G, C)}
    assert not found(forward, (3, G, G), lambda m, b: m(b[0]).square().mean(), **layers)


# -- meant so ----------------------------------------------------------------------------------------------------------


def shifted(n, x):
    """Relative positions brought under each other."""
    scores = F.pad(n.inner(x), (1, 0)).view(-1, C + 1, T)[:, 1:].reshape(-1, T, C)
    return n.head(scores.mean(1))


def shifted_joined(n, x):
    h = n.inner(x)
    scores = torch.cat([h.new_zeros(len(h), T, 1), h], 2).view(-1, C + 1, T)[:, 1:].view_as(h)
    return n.head(n.inner(scores).mean(1))


def shuffled(n, x):
    h = n.conv(x).view(-1, 4, C // 4, T).transpose(1, 2).reshape(-1, C, T)
    return n.head(n.after(h).mean(2))


def windows(n, x):
    h = n.inner(x).view(-1, 2, 3, 2, 5, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, 15, C)
    return n.head(attend(h).view(-1, 2, 2, 3, 5, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, 60, C).mean(1))


def windows_anew(n, x):
    """Windows of three rows are joined, and cut in five."""
    h = n.inner(x.view(-1, 5, 3, C)).view(-1, 15, C).view(-1, 3, 5, C)
    return n.head(attend(h).view(-1, 15, C).mean(1))


def grouped(n, x):
    """Fewer keys than queries."""
    q, k = n.inner(x).view(-1, T, H, D).transpose(1, 2), n.keys(x).view(-1, T, 2, D).transpose(1, 2)
    k = k[:, :, None].expand(-1, 2, 2, T, D).reshape(-1, H, T, D)
    return n.head((torch.softmax(q @ k.transpose(2, 3), -1) @ k).transpose(1, 2).reshape(-1, T, C).mean(1))


def brought_back(n, x):
    h = n.inner(x)
    return n.head(n.inner(h.view(-1, C, T).relu().view(-1, T, C)).mean(1))


def states(n, x):
    return n.head(n.gru(x)[1].view(2, 2, -1, D).permute(2, 0, 1, 3).reshape(-1, C))


@pytest.mark.parametrize(
    ("forward", "shape", "layers"),
    [
        (shifted, (T, C), {}),
        (shifted_joined, (T, C), {}),
        (shuffled, (3, T), {"conv": nn.Conv1d(3, C, 1), "after": nn.Conv1d(C, C, 3)}),
        (windows, (60, C), {}),
        (windows_anew, (15, C), {}),
        (grouped, (T, C), {"keys": nn.Linear(C, 2 * D)}),
        (brought_back, (T, C), {}),
        (states, (T, C), {"gru": nn.GRU(C, D, 2, bidirectional=True, batch_first=True)}),
        (lambda n, x: n.head(attend(n.inner(x).view(-1, H, H, D)).transpose(1, 2).flatten(2).mean(1)), (H, C), {}),
        (lambda n, x: n.head(n.inner(x.permute(0, 2, 3, 1).reshape(-1, 15, C)).mean(1)), (C, 3, 5), {}),
        (lambda n, x: n.head(n.conv(n.inner(x).view(-1, C, 1, 1)).mean((2, 3))), (C,), {"conv": nn.Conv2d(C, C, 1)}),
    ],
)
def test_sound_reshapes(forward, shape, layers):
    assert not found(forward, shape, **layers)


def test_layers_of_libraries_are_not_judged(monkeypatch):
    net = lambda n, x: n.head(attend(n.inner(x).view(-1, H, T, D)).transpose(1, 2).flatten(2).mean(1))  # noqa: E731
    assert found(net)
    monkeypatch.setattr(Net, "__module__", "pytest")
    assert not found(net)


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 6, 8]), min_size=2, max_size=4), st.randoms(use_true_random=False), st.booleans())
def test_the_order_that_is_found_turns_one_shape_into_the_other(sizes, random, turned):
    parts = [f for size in sizes[1:] for f in random.choice([(d, size // d) for d in range(1, size + 1) if size % d == 0])]
    random.shuffle(parts)
    before, after = (sizes, [sizes[0], *parts]) if not turned else ([sizes[0], *parts], sizes)
    instead = reordering(before, after)
    if instead is not None:
        x = torch.arange(prod(before)).view(before)
        made = x.reshape(instead.opened).permute(instead.order).reshape(instead.closed)
        assert list(made.shape) == after
        assert not torch.equal(made.flatten(), x.flatten())
