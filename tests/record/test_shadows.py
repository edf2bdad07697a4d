"""The search for second sets of weights among a program's objects."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from trainlint.record.shadows import ShadowWatch


class Reads(TorchFunctionMode):
    """Counts how often attributes of tensors are read."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_search_costs_no_look_at_the_parameters_for_each_object_of_the_program() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    objects = [[[], {}] for _ in range(5_000)]
    with Reads() as reads:
        ShadowWatch().before_step(lambda: [model], 1)
    assert reads.count < len(objects)
