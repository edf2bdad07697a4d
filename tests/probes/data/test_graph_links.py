"""Collate functions that join graphs, soundly and not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from probes.recorded import Net, train
from trainlint.measurements import CrossedLinks
from trainlint.probes.data.graph_links import crossed_links
from trainlint.probes.data.split_samples import samples_of


@dataclass
class Graph:
    x: Tensor
    edge_index: Tensor
    y: int


def graph(number: int) -> Graph:
    """A ring of five to nine nodes."""
    nodes = torch.arange(5 + number * 3 % 5)
    return Graph(torch.randn(len(nodes), 4), torch.stack([nodes, nodes.roll(1)]), number % 2)


GRAPHS = [graph(n) for n in range(40)]


def joined(graphs: list[Graph], offsets: list[int]) -> tuple[Tensor, ...]:
    owner = torch.cat([torch.full((len(g.x),), i) for i, g in enumerate(graphs)])
    edges = torch.cat([g.edge_index + o for g, o in zip(graphs, offsets, strict=True)], dim=1)
    return torch.cat([g.x for g in graphs]), edges, owner, torch.tensor([g.y for g in graphs])


def running(graphs: list[Graph]) -> list[int]:
    return torch.tensor([0, *(len(g.x) for g in graphs)]).cumsum(0)[:-1].tolist()


def right(graphs: list[Graph]) -> tuple[Tensor, ...]:
    return joined(graphs, running(graphs))


def by_the_one_before(graphs: list[Graph]) -> tuple[Tensor, ...]:
    offset, offsets = 0, []
    for g in graphs:
        offsets.append(0 + offset)
        offset = len(g.x)
    return joined(graphs, offsets)


def by_the_largest(graphs: list[Graph]) -> tuple[Tensor, ...]:
    return joined(graphs, [9 * i for i in range(len(graphs))])


def not_moved(graphs: list[Graph]) -> tuple[Tensor, ...]:
    return joined(graphs, [0] * len(graphs))


def in_another_order(graphs: list[Graph]) -> tuple[Tensor, ...]:
    return right(sorted(graphs, key=lambda g: len(g.x)))


def convolve(x: Tensor, edges: Tensor) -> Tensor:
    return x.index_add(0, edges[1], x.index_select(0, edges[0]))


def pooled(net: nn.Module, x: Tensor, edges: Tensor, owner: Tensor) -> Tensor:
    x = convolve(net.body(x), edges)
    return net.head(x.new_zeros(int(owner.max()) + 1, 8).index_add(0, owner, x))


def moving(net: nn.Module, x: Tensor, edges: Tensor, owner: Tensor) -> Tensor:
    """A model that moves the edges by itself."""
    starts = torch.bincount(owner).cumsum(0) - torch.bincount(owner)
    return pooled(net, x, edges + starts.repeat_interleave(torch.bincount(owner))[None], owner)


def look(collate: Callable[[list[Any]], Any], forward: Callable[..., Tensor] = pooled, samples: list[Any] = GRAPHS) -> CrossedLinks | None:
    model = Net(forward, body=nn.Linear(4, 8), head=nn.Linear(8, 2))
    loader = DataLoader(samples, batch_size=8, collate_fn=collate)
    recording = train(model, loader, lambda net, b: F.cross_entropy(net(*b[:3]), b[3]))
    return crossed_links(samples_of(recording.loaders[0]), recording.tape, recording.frames)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("collate", [by_the_one_before, not_moved])
def test_edges_of_other_graphs_are_found(collate: Callable[[list[Graph]], Any]) -> None:
    found = look(collate)
    assert found is not None
    assert found.wrong > 5
    assert found.path == ".edge_index"
    if collate is by_the_one_before:
        assert found.where is not None
        assert found.where.line == by_the_one_before.__code__.co_firstlineno + 4


def test_a_running_sum_is_right() -> None:
    found = look(right)
    assert found is not None
    assert found.wrong == 0


def test_models_that_move_edges_themselves_are_left_alone() -> None:
    assert look(not_moved, moving) is None


def test_padded_layouts_are_left_alone() -> None:
    def forward(net: nn.Module, x: Tensor, edges: Tensor, owner: Tensor) -> Tensor:
        wide = x.new_zeros(9 * 8, 4).index_copy(0, torch.cat([torch.arange(n) + 9 * i for i, n in enumerate(owner.bincount())]), x)
        return net.head(convolve(net.body(wide), edges).view(8, 9, 8).mean(1))

    assert look(by_the_largest, forward) is None


def test_graphs_in_another_order_are_left_alone() -> None:
    assert look(in_another_order) is None


def matrices(shift: int) -> Callable[[list[Any]], tuple[Tensor, ...]]:
    def collate(rows: list[Any]) -> tuple[Tensor, ...]:
        links = [a for _, a, _ in rows]
        total = torch.zeros(sum(map(len, links)), sum(map(len, links)))
        at = 0
        for a in links:
            total[at : at + len(a), at : at + len(a)] = a
            at += len(a) - shift
        owner = torch.cat([torch.full((len(a),), i) for i, a in enumerate(links)])
        return torch.cat([x for x, _, _ in rows]), total, owner, torch.tensor([y for _, _, y in rows])

    return collate


@pytest.mark.parametrize(("shift", "wrong"), [(0, False), (1, True)])
def test_blocks_of_a_matrix_stand_in_their_places(shift: int, wrong: bool) -> None:
    rows = [(g.x, torch.zeros(len(g.x), len(g.x)).index_put(tuple(g.edge_index), torch.tensor(1.0)), g.y) for g in GRAPHS]

    def forward(net: nn.Module, x: Tensor, links: Tensor, owner: Tensor) -> Tensor:
        return net.head((links @ net.body(x)).new_zeros(8, 8).index_add(0, owner, links @ net.body(x)))

    found = look(matrices(shift), forward, rows)
    assert found is not None
    assert bool(found.wrong) is wrong
