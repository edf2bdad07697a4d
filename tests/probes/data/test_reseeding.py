"""Seeds that are set to the same number in the loop that trains, and those that are not."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import record
from trainlint.probes.data.reseeding import reseeding
from trainlint.record.seeds import Seeding

DATA = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 3
Evaluate = Callable[[nn.Module, int], None]


def drawn(kind: str = "torch") -> tuple[Tensor, Tensor]:
    chosen = {"torch": lambda: torch.randint(200, (8,)), "numpy": lambda: torch.from_numpy(np.random.randint(0, 200, 8))}[kind]()
    return DATA[0][chosen], DATA[1][chosen]


def loop(evaluate: Evaluate, kind: str = "torch") -> Seeding | None:
    """What is found in a loop over steps that evaluates every fourth time."""

    def run() -> None:
        torch.manual_seed(5)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(12):
            if step % 4 == 0:
                evaluate(model, step)
            x, y = drawn(kind)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    return reseeding(record(run))


def by_constant(model: nn.Module, step: int) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        model(drawn()[0])


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def by_a_function(model: nn.Module, step: int) -> None:
    seed_all(5)
    with torch.no_grad():
        model(drawn()[0])


def by_numpy(model: nn.Module, step: int) -> None:
    np.random.seed(5)


@pytest.mark.parametrize(
    ("evaluate", "kind"), [(by_constant, "torch"), (by_a_function, "torch"), (by_a_function, "numpy"), (by_numpy, "numpy")]
)
def test_an_evaluation_that_seeds_what_batches_are_drawn_from_is_found(evaluate: Evaluate, kind: str) -> None:
    found = loop(evaluate, kind)
    assert found.kind == kind
    assert found.stack[0][2] in (evaluate.__name__, "seed_all")


def put_back(model: nn.Module, step: int) -> None:
    state = torch.get_rng_state()
    by_constant(model, step)
    torch.set_rng_state(state)


def forked(model: nn.Module, step: int) -> None:
    with torch.random.fork_rng():
        by_constant(model, step)


def of_the_step(model: nn.Module, step: int) -> None:
    seed_all(5 + step)


def seeded_anew(model: nn.Module, step: int) -> None:
    by_constant(model, step)
    torch.manual_seed(step)


def of_its_own(model: nn.Module, step: int) -> None:
    torch.randn(3, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("evaluate", [put_back, forked, of_the_step, seeded_anew, of_its_own, by_numpy])
def test_seeds_that_are_put_back_or_change_are_fine(evaluate: Evaluate) -> None:
    assert loop(evaluate) is None


def test_trainings_that_begin_with_the_same_seed_are_fine() -> None:
    def run() -> None:
        for rate in (0.1, 0.01):
            torch.manual_seed(5)
            model = nn.Linear(4, 3)
            optimizer = torch.optim.SGD(model.parameters(), lr=rate)
            for _ in range(12):
                x, y = drawn()
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()

    assert reseeding(record(run)) is None


@pytest.mark.parametrize(("evaluate", "found"), [(by_constant, True), (put_back, False), (of_the_step, False)])
def test_a_seed_after_each_epoch_decides_on_the_order_of_the_next(evaluate: Evaluate, found: bool) -> None:
    def run() -> None:
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loader = DataLoader(TensorDataset(*DATA), batch_size=50, shuffle=True)
        for epoch in range(4):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            evaluate(model, epoch)

    assert (reseeding(record(run)) is not None) is found
