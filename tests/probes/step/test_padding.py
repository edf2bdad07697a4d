"""Padding in batches, in losses and in predictions, on small models of every kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, train
from trainlint.measurements import Padding
from trainlint.probes.step.padding import measure_padding
from trainlint.probes.step.pads import padded

VOCABULARY, LENGTH = 20, 16


def rows(count: int = 64, *, pad: int = 0, end: int | None = None, left: bool = False) -> tuple[Tensor, Tensor]:
    """``(ids, lengths)``: ids of 3 and more, filled up with ``pad``."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (count, LENGTH), generator=generator)
    lengths = torch.randint(4, LENGTH + 1, (count,), generator=generator)
    behind = torch.arange(LENGTH) >= lengths[:, None]
    if end is not None:
        ids[torch.arange(LENGTH) == lengths[:, None] - 1] = end
    ids = ids.masked_fill(behind, pad)
    return (ids.flip(1) if left else ids), lengths


def padding(model: nn.Module, loss: Callable[[nn.Module, list[Tensor]], Tensor], *tensors: Tensor) -> Padding:
    torch.manual_seed(0)
    return measured(measure_padding, train(model, DataLoader(TensorDataset(*tensors), 16), loss))


# -- in the loss -------------------------------------------------------------------------------------------------------


def language_model() -> nn.Module:
    return nn.Sequential(nn.Embedding(VOCABULARY, 12), nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, VOCABULARY))


def counted(loss: Callable[[Tensor, Tensor], Tensor], ids: Tensor, *more: Tensor) -> Padding:
    return padding(language_model(), lambda m, b: loss(m(b[0][:, :-1]), b[0][:, 1:], *b[1:]), ids, *more)


def test_padding_that_counts_is_seen():
    ids, lengths = rows()
    found = counted(lambda y, t: F.cross_entropy(y.flatten(0, 1), t.flatten()), ids)
    real = (lengths[:16] - 1).sum() + (lengths[:16] < LENGTH).sum()  # one id of each stretch may be an end mark
    assert (found.found, found.value, found.side, found.path) == (True, 0.0, "end", "[0]")
    assert found.counted == pytest.approx(1 - real / (16 * (LENGTH - 1)))
    assert (found.loss, found.scored) == ("cross_entropy", 16 * (LENGTH - 1))
    assert found.loss_where is not None


@pytest.mark.parametrize(
    "loss",
    [
        lambda y, t: F.cross_entropy(y.flatten(0, 1), t.flatten(), ignore_index=0),
        lambda y, t: F.cross_entropy(y.transpose(1, 2), t, ignore_index=0),
        lambda y, t: F.cross_entropy(y.flatten(0, 1), t.flatten().masked_fill(t.flatten() == 0, -100)),
        lambda y, t: (F.cross_entropy(y.transpose(1, 2), t, reduction="none") * (t != 0)).sum() / (t != 0).sum(),
        lambda y, t: F.cross_entropy(y[t != 0], t[t != 0]),
        lambda y, t: F.cross_entropy(y.flatten(0, 1), t.flatten(), weight=torch.tensor([0.0] + [1.0] * (VOCABULARY - 1))),
        lambda y, t: -(y.log_softmax(-1).gather(-1, t[..., None])[..., 0] * (t != 0)).sum(),
        lambda y, t: F.cross_entropy(
            pack_padded_sequence(y, (t != 0).sum(1), True, False).data, pack_padded_sequence(t, (t != 0).sum(1), True, False).data
        ),
    ],
)
def test_masks_of_every_kind_leave_padding_out(loss):
    ids, _ = rows()
    assert (counted(loss, ids).counted or 0.0) < 0.01


def test_one_end_mark_is_not_padding_though_it_fills_up_too():
    ids, lengths = rows(pad=2, end=2)
    mask = torch.arange(LENGTH) < lengths[:, None]
    found = counted(lambda y, t, m: F.cross_entropy(y.flatten(0, 1), t.masked_fill(~m[:, 1:].bool(), -100).flatten()), ids, mask.long())
    assert (found.masked, found.counted) == (True, 0.0)
    found = counted(lambda y, t: F.cross_entropy(y.transpose(1, 2), t), ids)
    assert found.value == 2.0
    assert found.counted is not None
    assert 0.2 < found.counted < 0.51


def test_padded_numbers_are_seen_and_a_mask_by_hand_leaves_them_out():
    _, lengths = rows()
    real = (torch.arange(LENGTH) < lengths[:, None])[..., None].float()
    x = torch.randn(64, LENGTH, 3) * real
    model = nn.Linear(3, 2)
    target = torch.randn(64, LENGTH, 2)
    found = padding(model, lambda m, b: F.mse_loss(m(b[0]), b[1]), x, target)
    assert found.counted is not None
    assert found.counted > 0.3
    masked = padding(model, lambda m, b: (F.mse_loss(m(b[0]), b[1], reduction="none") * b[2]).sum() / b[2].sum(), x, target, real)
    assert masked.counted == 0.0


# -- in predictions ----------------------------------------------------------------------------------------------------


def classify(model: nn.Module, *more: Tensor, left: bool = False, batch: Callable = lambda b: b[:1]) -> Padding:
    ids, lengths = rows(left=left)
    labels = ids.sum(1) % 3
    return padding(model, lambda m, b: F.cross_entropy(m(*batch(b)), b[-1]), ids, lengths, labels)


def embed(zero: bool = False) -> nn.Embedding:
    return nn.Embedding(VOCABULARY, 12, padding_idx=0 if zero else None)


def last_state(net: nn.Module, ids: Tensor) -> Tensor:
    return net.head(net.rnn(net.embed(ids))[1][0][-1])


def packed(net: nn.Module, ids: Tensor, lengths: Tensor) -> Tensor:
    return net.head(net.rnn(pack_padded_sequence(net.embed(ids), lengths, batch_first=True, enforce_sorted=False))[1][0][-1])


def both_ways(net: nn.Module, ids: Tensor, lengths: Tensor) -> Tensor:
    out = net.rnn(pack_padded_sequence(net.embed(ids), lengths, batch_first=True, enforce_sorted=False))[0]
    out = pad_packed_sequence(out, batch_first=True, total_length=LENGTH)[0]
    return net.head((out * (ids > 0)[..., None]).sum(1) / lengths[:, None])


def lstm(run: Callable, zero: bool = False, **kwargs: object) -> nn.Module:
    rnn = nn.LSTM(12, 16, batch_first=True, **kwargs)
    return Net(run, embed=embed(zero), rnn=rnn, head=nn.Linear(32 if kwargs else 16, 3))


def encoder(pool: Callable, mask: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.1, batch_first=True)

    def run(net: nn.Module, ids: Tensor) -> Tensor:
        hidden = net.embed(ids) + net.place(torch.arange(LENGTH))
        return net.head(pool(net.body(hidden, src_key_padding_mask=ids == 0 if mask else None), ids))

    return Net(run, embed=embed(), place=nn.Embedding(LENGTH, 12), body=nn.TransformerEncoder(layer, 2), head=nn.Linear(12, 3))


def over_all(hidden: Tensor, ids: Tensor) -> Tensor:
    return hidden.mean(1)


def over_real(hidden: Tensor, ids: Tensor) -> Tensor:
    keep = (ids > 0)[..., None]
    return (hidden * keep).sum(1) / keep.sum(1)


def pooled(pool: Callable, zero: bool = False) -> nn.Module:
    return Net(lambda net, ids: net.head(pool(net.embed(ids), ids)), embed=embed(zero), head=nn.Linear(12, 3))


def at_last(net: nn.Module, ids: Tensor) -> Tensor:
    return net.head(net.rnn(net.embed(ids))[0][:, -1])


READ = [
    ("recurrent", lstm(last_state)),
    ("recurrent", lstm(last_state, zero=True)),
    (("recurrent", "position"), lstm(at_last)),
    ("pooling", pooled(over_all)),
    ("pooling", pooled(over_all, zero=True)),
    ("pooling", encoder(over_all, mask=True)),
    ("attention", encoder(over_real, mask=False)),
]


@pytest.mark.parametrize(("reader", "model"), READ)
def test_models_that_read_padding(reader, model):
    found = classify(model)
    assert found.counted is None
    assert found.influence is not None
    assert found.influence > 0.1
    assert found.reader == reader or found.reader in reader
    assert found.reader_where is not None


def test_a_left_padded_sequence_without_a_mask_is_read():
    found = classify(lstm(last_state), left=True)
    assert found.side == "start"
    assert found.influence is not None
    assert found.influence > 0.0


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (lstm(packed), lambda b: b[:2]),
        (lstm(both_ways, bidirectional=True), lambda b: b[:2]),
        (pooled(over_real), lambda b: b[:1]),
        (encoder(over_real, mask=True), lambda b: b[:1]),
        (encoder(lambda hidden, ids: hidden[:, 0], mask=True), lambda b: b[:1]),
    ],
)
def test_models_that_mask_padding(model, batch):
    found = classify(model, batch=batch)
    assert found.found
    assert found.influence is not None
    assert found.influence < 0.001


def test_convolutions_and_sums_of_zeros_are_told_apart():
    convolved = Net(
        lambda net, ids: net.head(net.conv(net.embed(ids).transpose(1, 2)).relu().amax(2)),
        embed=embed(), conv=nn.Conv1d(12, 16, 3), head=nn.Linear(16, 3),
    )  # fmt: skip
    assert classify(convolved).reader == "convolution"
    assert classify(pooled(lambda hidden, ids: hidden.sum(1), zero=True)).reader == "other"


def test_a_causal_model_does_not_read_padding_at_the_end():
    ids, _ = rows()
    model = Net(
        lambda net, ids: net.head(net.rnn(net.embed(ids))[0]),
        embed=embed(),
        rnn=nn.GRU(12, 16, batch_first=True),
        head=nn.Linear(16, VOCABULARY),
    )
    found = padding(model, lambda m, b: F.cross_entropy(m(b[0][:, :-1]).flatten(0, 1), b[0][:, 1:].flatten(), ignore_index=0), ids)
    assert found.counted == 0.0
    assert found.influence == 0.0


# -- what is padding ---------------------------------------------------------------------------------------------------


def test_full_rows_pictures_and_real_zeros_are_no_padding():
    ids, _ = rows()
    full = torch.randint(0, VOCABULARY, (32, LENGTH))
    zeros = ids.clone()
    zeros[:, 1::3] = 0
    picture = torch.zeros(32, 28, 28)
    picture[:, 4:20, 6:20] = 1.0
    flags = (torch.rand(32, 10) > 0.5).long()
    same = full.clamp_min(1)
    same[:, 10:] = 0
    for tensor in (full, zeros, picture, flags, same, torch.rand(32, 10)):
        assert padded(tensor, []) is None
    assert padded(ids, []) is not None


def test_complex_numbers_are_no_ids():
    assert padded(torch.zeros(8, 16, dtype=torch.complex64), []) is None
