"""Words with one vector between them in a frozen embedding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from probes.recorded import fit, record
from trainlint.measurements import SharedRows
from trainlint.probes.run.shared_rows import shared_rows

WORDS, OWN = 40, 30


def vectors() -> Tensor:
    return torch.randn(WORDS, 8, generator=torch.Generator().manual_seed(0))


def averaged() -> Tensor:
    return torch.cat([vectors()[:OWN], vectors()[:OWN].mean(0, keepdim=True).repeat(WORDS - OWN, 1)])


def zeroed() -> Tensor:
    return torch.cat([vectors()[:OWN], torch.zeros(WORDS - OWN, 8)])


def of_groups() -> Tensor:
    return vectors()[:20].repeat_interleave(2, 0)


def constant() -> Tensor:
    return torch.ones(WORDS, 8)


class Net(nn.Module):
    def __init__(self, table: nn.Module, *beside: nn.Module) -> None:
        super().__init__()
        self.table, self.beside, self.head = table, nn.ModuleList(beside), nn.Linear(8, 2)

    def forward(self, words: Tensor) -> Tensor:
        found = [one(words) for one in (self.table, *self.beside)]
        return self.head(torch.stack([f.mean(1) if f.dim() == 3 else f for f in found]).sum(0))


def found(build: Callable[[], nn.Module], *beside: nn.Module, most: int = WORDS) -> SharedRows | None:
    words = torch.randint(most, (64, 12), generator=torch.Generator().manual_seed(1))
    data = TensorDataset(words, words[:, 0] % 2)
    loader = DataLoader(data, 16)
    return shared_rows(record(lambda: fit(Net(build(), *beside), loader, lambda net, b: nn.functional.cross_entropy(net(b[0]), b[1]))))


@pytest.mark.parametrize(("values", "zeros"), [(averaged, False), (zeroed, True)])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_new_words_of_a_frozen_table_are_counted(kind: type[nn.Embedding], values: Callable[[], Tensor], zeros: bool) -> None:
    one = found(lambda: kind.from_pretrained(values()))  # built
    assert one is not None
    assert (one.name, one.words, one.used, one.zeros) == ("table.weight", WORDS - OWN, WORDS, zeros)
    assert one.where is not None
    assert one.where.text.endswith("# built")


@pytest.mark.parametrize("values", [vectors, of_groups, constant])
def test_frozen_tables_with_vectors_of_their_own_or_of_groups_pass(values: Callable[[], Tensor]) -> None:
    assert found(lambda: nn.Embedding.from_pretrained(values())) is None


def test_what_learns_or_is_not_used_passes() -> None:
    assert found(lambda: nn.Embedding.from_pretrained(averaged(), freeze=False)) is None
    assert found(lambda: nn.Embedding.from_pretrained(averaged()), nn.Embedding(WORDS, 8)) is None
    assert found(lambda: nn.Embedding.from_pretrained(averaged()), most=OWN + 3) is None
