"""Streams of tokens that were cut across, and tables of tokens that only look like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import Net, measured, record, train
from trainlint.measurements import CutStream
from trainlint.probes.step.cut_stream import cut_stream
from trainlint.probes.step.token_order import measure_token_order
from trainlint.record.recording import Recording

WORDS, COLUMNS, LENGTH = 12, 10, 16
#: Keeps tables alive until they are looked at, as the names of a script do.
ALIVE: list[Tensor] = []


def stream(count: int = 4000, seed: int = 0) -> Tensor:
    """Each token is mostly followed by one of two."""
    generator = torch.Generator().manual_seed(seed)
    tokens, draws = [0], torch.rand(count, 2, generator=generator).tolist()
    for stays, which in draws[1:]:
        tokens.append(int(which * WORDS) if stays < 0.2 else (5 * tokens[-1] + 1 + int(which < 0.5)) % WORDS)
    return torch.tensor(tokens)


def _forward(net: Any, x: Tensor) -> Tensor:
    return net.out(net.rnn(net.embed(x))[0])


def model(*, batch_first: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Net(_forward, embed=nn.Embedding(WORDS, 8), rnn=nn.GRU(8, 8, batch_first=batch_first), out=nn.Linear(8, WORDS))


def recorded(make: Callable[[Tensor], Tensor], *, time: int = 0, copied: bool = False, length: int = LENGTH) -> Recording:
    """A loop over stretches of a table that is made of the stream."""
    tokens = stream()

    def run() -> None:
        table, net = make(tokens), model(batch_first=time == 1)
        ALIVE[:] = [table]
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for begin in range(0, table.shape[time] - length - 1, length):
            x, y = table.narrow(time, begin, length), table.narrow(time, begin + 1, length)
            x = x.clone() if copied else x
            optimizer.zero_grad()
            F.cross_entropy(net(x).flatten(0, 1), y.reshape(-1)).backward()
            optimizer.step()

    return record(run)


def found(make: Callable[[Tensor], Tensor], **how: Any) -> CutStream | None:
    return measured(lambda recording, *_: cut_stream(recording), recorded(make, **how))


def test_a_stream_with_its_neighbours_side_by_side_is_seen():
    stream = found(lambda tokens: tokens.view(-1, COLUMNS).contiguous())
    assert stream is not None
    assert (stream.columns, stream.shape, stream.tokens) == (COLUMNS, (400, COLUMNS), 4000)
    assert stream.across > 0.8
    assert stream.around > 0.8
    assert stream.down < 0.2
    assert stream.where is not None
    assert "view" in stream.where.text


def test_it_is_seen_with_the_batch_first_too():
    assert found(lambda tokens: tokens.view(-1, COLUMNS).t(), time=1) is not None
    assert found(lambda tokens: tokens.view(-1, COLUMNS).t().contiguous(), time=1) is not None


def test_stretches_that_are_copied_are_put_together():
    cut = found(lambda tokens: tokens.view(-1, COLUMNS), copied=True, length=80)
    assert cut is not None
    assert cut.tokens < 4000
    assert measured(measure_token_order, recorded(lambda tokens: tokens.view(-1, COLUMNS), copied=True)).stream is None  # too few are known


def _sensors(tokens: Tensor) -> Tensor:
    """Columns that tell of each other at one time, and change slowly."""
    common = stream(400).view(-1, 1).repeat_interleave(4, 0)[:400]
    noise = torch.randint(0, WORDS, (400, COLUMNS), generator=torch.Generator().manual_seed(1))
    return torch.where(noise < 3, noise, common).contiguous()


def _flashes(tokens: Tensor) -> Tensor:
    """Columns that tell of each other at one time, each time anew."""
    common = torch.randint(0, WORDS, (400, 1), generator=torch.Generator().manual_seed(1))
    return common.expand(400, COLUMNS).contiguous()


@pytest.mark.parametrize(
    "make",
    [
        lambda tokens: tokens.view(COLUMNS, -1).t(),
        lambda tokens: tokens.view(COLUMNS, -1).t().contiguous(),
        lambda tokens: tokens.unfold(0, COLUMNS, 1).contiguous(),  # each column begins one token later
        lambda tokens: tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))].view(-1, COLUMNS),
        _sensors,
        _flashes,
    ],
)
def test_stretches_windows_and_columns_of_their_own_are_fine(make: Callable[[Tensor], Tensor]):
    assert found(make) is None


def test_windows_of_a_loader_are_fine():
    windows = stream().unfold(0, LENGTH + 1, 1)[:512]

    def loss(net: nn.Module, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())

    loader = DataLoader(TensorDataset(windows[:, :-1], windows[:, 1:]), 160)  # as they come, each a token further on
    assert measured(measure_token_order, train(model(batch_first=True), loader, loss)).stream is None
