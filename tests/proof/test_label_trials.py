"""Labels as they should be, tried on small models that were given other ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from probes.recorded import record
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from trainlint.finding import Proof
from trainlint.probes.session import ProbeSession
from trainlint.registry import load_catalogue
from trainlint.settings import Settings

CENTRES = torch.randn(4, 6, generator=torch.Generator().manual_seed(9)) * 2.5


def clouds(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    return CENTRES[labels] + torch.randn(count, 6, generator=generator), labels


def tried(rule: str, train_set: Dataset, val_set: Dataset, model: nn.Module, loss=F.cross_entropy, rate: float = 0.02) -> Proof:
    """What came of trying the fix of a rule that fails on these data."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def run() -> None:
        for _ in range(2):
            for inputs, targets in DataLoader(train_set, batch_size=32, shuffle=True):
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()
            with torch.no_grad():
                for inputs, _ in DataLoader(val_set, batch_size=64):
                    model(inputs)

    torch.manual_seed(0)
    session = ProbeSession(record(run), Settings(select=(rule,), budget=60))
    (finding,) = session.judge(load_catalogue().choose((rule,)))
    assert finding.failed, finding
    assert session.proofs[rule].tried or not session.proofs[rule].helped
    return session.proofs[rule]


def mlp(outputs: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, outputs))


def test_labels_that_slipped_are_paired_again_and_learned() -> None:
    (inputs, labels), other = clouds(500), clouds(100, 1)
    found = tried("label-signal", TensorDataset(inputs, labels.roll(-1)), TensorDataset(*other), mlp())
    assert found.helped
    assert found.summary.startswith("With labels moved by +1, the loss on held-out samples after 40 steps goes from ")
    assert found.after < 0.5 * found.before


def test_a_pairing_that_reaches_beyond_a_subset_is_found_again() -> None:
    inputs, labels = clouds(600)
    order = torch.tensor(sorted(range(600), key=str))
    whole = TensorDataset(inputs[order], labels)
    found = tried("label-signal", Subset(whole, range(500)), Subset(whole, range(500, 600)), mlp())
    assert found.helped
    assert "numeric instead of alphabetic order" in found.summary


def test_measured_targets_are_paired_again() -> None:
    inputs, _ = clouds(500)
    values = inputs[:, :1] - inputs[:, 1:2]
    other, _ = clouds(100, 1)
    found = tried(
        "label-signal",
        TensorDataset(inputs, values.flip(0)),
        TensorDataset(other, other[:, :1] - other[:, 1:2]),
        mlp(1),
        F.mse_loss,
    )
    assert found.helped
    assert found.summary.startswith("With labels in reverse order, ")


class Spots(Dataset):
    """A bright square somewhere, and where it is; the mask is mirrored where ``torn``."""

    def __init__(self, count: int, seed: int, *, torn: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.masks = torch.zeros(count, 1, 16, 16)
        for mask in self.masks:
            row, column = (int(v) for v in torch.randint(0, 11, (2,), generator=generator))
            mask[:, row : row + 5, column : column + 5] = 1
        self.pictures = self.masks + 0.2 * torch.randn(self.masks.shape, generator=generator)
        self.torn = torn

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        mask = self.masks[index]
        return self.pictures[index], mask.flip(-1) if self.torn else mask


def test_masks_that_do_not_lie_on_their_picture_are_turned_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    found = tried("label-signal", Spots(200, 0, torn=True), Spots(60, 1, torn=True), model, F.binary_cross_entropy_with_logits)
    assert found.helped
    assert found.summary.startswith("With each mask turned as its picture is, ")


@pytest.mark.parametrize("renamed", [lambda y: (y + 1) % 4, lambda y: 3 - y, lambda y: y + 1], ids=["round", "reversed", "beyond"])
def test_validation_labels_that_are_named_in_another_way_are_renamed(renamed) -> None:
    inputs, labels = clouds(300, 1)
    found = tried("label-mapping", TensorDataset(*clouds(500)), TensorDataset(inputs, renamed(labels)), mlp(6))
    assert found.helped
    assert found.summary.startswith("With validation labels renamed as training names them, the loss on validation samples ")


def test_labels_without_any_known_pairing_are_not_tried() -> None:
    inputs, labels = clouds(600)
    shuffled = labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    found = tried("label-signal", TensorDataset(inputs, shuffled), TensorDataset(*clouds(300, 1)), mlp())
    assert not found.tried
    assert found.summary == "which label belongs to which input is not known"


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(40, 16), nn.GRU(16, 8, batch_first=True, bidirectional=True), nn.Linear(16, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(ids))[0])


def test_tags_beside_their_tokens_are_lined_up() -> None:
    tokens = torch.randint(2, 40, (300, 12), generator=torch.Generator().manual_seed(0))

    def loss(scores: Tensor, tags: Tensor) -> Tensor:
        return F.cross_entropy(scores.flatten(0, 1), tags.flatten())

    beside = TensorDataset(tokens, (tokens % 4).roll(1, 1))
    found = tried("label-signal", beside, beside, Tagger(), loss)
    assert found.helped
    assert found.summary.startswith("With each tag beside its own token, ")


def test_targets_that_are_shifted_twice_are_moved_back() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(20, (320,), generator=draw)]
    for _ in range(12):  # three of four tokens follow from the one before
        drawn = torch.randint(20, (320,), generator=draw)
        rows.append(torch.where(torch.rand(320, generator=draw) < 0.75, (rows[-1] * 7 + 3) % 20, drawn))
    ids = torch.stack(rows, 1)
    data = TensorDataset(ids[:, :-1], ids[:, 1:])

    def shifted_again(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Embedding(20, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 20)

        def forward(self, given: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(given))[0])

    found = tried("label-signal", data, data, Model(), shifted_again)
    assert found.helped
    assert found.summary.startswith("With labels that are the input's own tokens, ")
