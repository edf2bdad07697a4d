"""How many samples a batch holds."""

from __future__ import annotations

import torch

from trainlint.record.structure import batch_size


def test_the_most_common_first_axis_counts() -> None:
    assert batch_size({"x": torch.zeros(8, 3), "y": torch.zeros(8), "weights": torch.zeros(5)}) == 8
    assert batch_size({}) == 0


def test_of_graphs_joined_end_to_end_the_graphs_count() -> None:
    graphs = {
        "x": torch.zeros(7, 4),
        "edge_index": torch.zeros(2, 10).long(),
        "y": torch.zeros(3),
        "batch": torch.tensor([0, 0, 1, 1, 1, 2, 2]),
    }
    assert batch_size(graphs) == 3


def test_labels_in_order_are_labels() -> None:
    assert batch_size({"x": torch.zeros(6, 4), "y": torch.tensor([0, 0, 1, 1, 2, 2])}) == 6
